"""Lake's 20 published runs: the answers are those of class_labels.txt, and the real ones are what their papers say."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import KDTree

from command_line import Fewshot, checkpoint_of, record_in
from episodes.datasets.omniglot.dataset import Omniglot
from episodes.datasets.omniglot.oneshot_runs import NUM_RUNS, WAY, oneshot_runs, read_runs
from episodes.datasets.strokes.dataset import Strokes
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import RUNS, EpisodeSpec, unit_of
from episodes.types import DataError, EpisodeError
from fewshot.evaluation.evaluate import embed_all, evaluate
from fewshot.models.factory import build_method
from fewshot.models.methods.hausdorff import ink_points, modified_hausdorff
from fewshot.records.record import read_record
from toy_classes import FewStrokes


def png(gray: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2), gray).save(buffer, "png")
    return buffer.getvalue()


def answers(run: int) -> list[int]:
    """Another order in each run."""
    return [(7 * item + run) % WAY for item in range(WAY)]


def archive(path: Path, *, spoil: str = "") -> Path:
    """Drawings of one gray value: character c of run r is 20 r / 2 + c, and its query 100 more."""
    with zipfile.ZipFile(path, "w") as opened:
        for run in range(NUM_RUNS):
            folder, lines = f"run{run + 1:02d}", []
            for item, character in enumerate(answers(run)):
                test, training = f"test/item{item + 1:02d}.png", f"training/class{character + 1:02d}.png"
                opened.writestr(f"{folder}/{test}", png(run + character + 100))
                opened.writestr(f"{folder}/{training}", png(run + character))
                lines.append(f"{folder}/{test} {folder}/{training}")
            if spoil == folder:
                lines[3] = lines[4].split()[0] + " " + lines[3].split()[1]
            opened.writestr(f"{folder}/class_labels.txt", "\n".join(reversed(lines)))  # the order of lines says nothing
    return path


def test_every_query_is_paired_with_the_character_of_its_label(tmp_path: Path) -> None:
    runs = read_runs(archive(tmp_path / "all_runs.zip"), lambda drawing: drawing)
    values = runs.image_set.images[:, 0, 0, 0].long()
    episode = runs.batch(0, NUM_RUNS)
    assert episode.labels.tolist() == [answers(run) for run in range(NUM_RUNS)]
    of_run = torch.arange(NUM_RUNS)[:, None]
    assert torch.equal(values[episode.support[:, :, 0]], of_run + torch.arange(WAY))
    assert torch.equal(values[episode.query], of_run + episode.labels + 100)
    again = torch.cat([batch.query for batch in runs.batches(NUM_RUNS, 3)])
    assert torch.equal(again, episode.query)
    with pytest.raises(EpisodeError, match="there are 20 runs"):
        runs.batch(19, 2)


def test_a_missing_broken_or_wrongly_paired_archive_is_an_error_that_says_where_to_get_it(tmp_path: Path) -> None:
    for path, complaint in (
        (tmp_path / "all_runs.zip", "are not here"),
        (archive(tmp_path / "spoilt.zip", spoil="run05"), "run05/test"),
    ):
        with pytest.raises(DataError, match=complaint) as raised:
            read_runs(path, lambda drawing: drawing)
        assert "brendenlake/omniglot" in str(raised.value)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match="does not hold"):
        read_runs(tmp_path / "text.zip", lambda drawing: drawing)


def test_the_modified_hausdorff_distance_is_the_larger_mean_of_nearest_distances() -> None:
    left = np.array([[0.0, 0.0], [0.0, 4.0]])
    right = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 9.0]])
    to_right, to_left = (0 + 4) / 2, (0 + 3 + 5) / 3
    assert modified_hausdorff(KDTree(left), KDTree(right)) == pytest.approx(max(to_right, to_left))
    image = np.zeros((5, 5), np.float32)
    assert ink_points(image).tolist() == [[0.0, 0.0]]
    image[1, 2] = image[3, 2] = 1
    assert ink_points(image).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_a_drawing_takes_the_class_of_the_nearest_one() -> None:
    """Two classes of two drawings: a bar and a cross, wherever they stand on the sheet."""
    bar, cross = torch.zeros(2, 8, 8)
    bar[1:7, 2] = cross[3, 1:6] = cross[1:6, 3] = 1
    support = torch.stack([bar, bar.roll(3, 1), cross, cross.roll(1, 0)]).view(1, 2, 2, 64)
    query = torch.stack([cross.roll(2, 1), bar.roll(1, 1), torch.zeros(8, 8)]).view(1, 3, 64)
    method = build_method("hausdorff", {}, "pixels", {}, (1, 8, 8), seed=0)
    logits = method.logits(support, query)
    assert logits.argmax(2)[0, :2].tolist() == [1, 0]
    assert logits[0, :2].amax(1).tolist() == [0, 0]
    assert logits.isfinite().all()
    with pytest.raises(UserError, match="images of one channel, and --encoder pixels"):
        build_method("hausdorff", {}, "conv4", {}, (1, 28, 28), seed=0)


def test_drawings_are_compared_few_episodes_at_a_time_so_that_progress_is_seen() -> None:
    method = build_method("hausdorff", {}, "pixels", {}, (1, 28, 28), seed=0)
    sampler, seen = EpisodeSampler(FewStrokes().load("test"), EpisodeSpec(5, 1, 15), seed=0), list[int]()
    evaluate(method, sampler, 10, progress=lambda what, done, _: seen.append(done) if what == "testing" else None)
    assert len(seen) >= 2


def test_only_omniglot_under_the_lake_split_has_runs(fewshot: Fewshot) -> None:
    with pytest.raises(DataError, match="--split lake"):
        oneshot_runs(Omniglot(class_split="vinyals"))
    with pytest.raises(DataError, match=r"put all_runs\.zip"):
        oneshot_runs(Omniglot(class_split="lake"))
    run = ("run", "--dataset", "strokes", "--recipe", "smoke")
    assert "Lake's 20 runs are of Omniglot" in fewshot(*run, "--protocol", "runs").error
    assert "Valid: episodes, runs" in fewshot(*run, "--protocol", "rnus").error
    assert "leave out --damage" in fewshot(*run, "--protocol", "runs", "--damage", "0.5").error


def test_a_data_set_comes_in_its_own_sizes_only(fewshot: Fewshot) -> None:
    assert Omniglot(class_split="lake").at_size(105).protocol_name == "omniglot-lake-105"
    assert Omniglot().protocol_name == "omniglot-vinyals-28"
    with pytest.raises(DataError, match="choose --size 28 or 105"):
        Omniglot().at_size(64)
    assert Strokes().at_size(28).image_shape == (1, 28, 28)
    assert "leave out --size" in fewshot("run", "--dataset", "strokes", "--recipe", "smoke", "--size", "105").error


@pytest.mark.real_data
def test_the_drawings_of_the_runs_are_evaluation_drawings_of_one_character_each(real_data_root: Path) -> None:
    omniglot = Omniglot(real_data_root, "lake")
    runs, test = oneshot_runs(omniglot), omniglot.load("test")
    known = {image.tobytes(): row for row, image in enumerate(test.images.numpy())}
    rows = torch.tensor([known[image.tobytes()] for image in runs.image_set.images.numpy()]).view(NUM_RUNS, WAY, 2)
    character, drawer = test.class_ids[rows], rows % 20
    assert torch.equal(character[..., 0], character[..., 1])
    alphabets = []
    for run in range(NUM_RUNS):
        assert len(set(character[run, :, 0].tolist())) == WAY
        (alphabet,) = {test.class_names[id].partition("/")[0] for id in character[run].flatten().tolist()}
        alphabets.append(alphabet)
        assert [len(set(drawer[run, :, side].tolist())) for side in (0, 1)] == [1, 1]
        assert drawer[run, 0, 0] != drawer[run, 0, 1]
    assert alphabets[::2] == alphabets[1::2], "two runs in a row are of one alphabet, and that is what varies"
    assert len(set(alphabets)) == NUM_RUNS / unit_of(RUNS).size == 10


@pytest.mark.real_data
@pytest.mark.slow
def test_the_modified_hausdorff_distance_errs_as_often_as_published(real_data_root: Path) -> None:
    """38.8 % of 400 trials (Lake et al. 2015): a wrong pairing or a wrong image would be far from it."""
    runs = oneshot_runs(Omniglot(real_data_root, "lake", size=105))
    method = build_method("hausdorff", {}, "pixels", {}, (1, 105, 105), seed=0)
    correct = evaluate(method, runs, NUM_RUNS, table=embed_all(method, runs.image_set.images, "fp32")).correct
    assert 400 - int(correct.sum()) == 155  # 38.75 %
    (path,) = Path(__file__).parents[2].glob("results/runs/hausdorff_omniglot-lake-105_*.json")
    assert np.array_equal(correct, read_record(path).counts)


@pytest.mark.real_data
@pytest.mark.slow
def test_a_training_on_background_alphabets_is_tested_on_the_runs(
    fewshot: Fewshot, real_data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(real_data_root))
    smoke = ("run", "--recipe", "smoke", "--width", "8", "--precision", "fp32")
    outcome = fewshot(*smoke, "--split", "lake", "--protocol", "runs")
    record = record_in(outcome)
    assert record.protocol == "omniglot-lake-28/20w1s/runs@v1"
    assert (record.num_episodes, record.num_queries, record.test.shot) == (20, 20, 1)
    assert "n = alphabets; the episodes are the 20 published runs" in record.ci_formula
    checkpoint = checkpoint_of(record)
    again = fewshot("evaluate", checkpoint, "--protocol", "runs", "--precision", "fp32", "--out", "again")
    assert record_in(again).correct == record.correct
    assert "leave out --way" in fewshot("evaluate", checkpoint, "--protocol", "runs", "--way", "5").error
    damaged = checkpoint_of(record_in(fewshot(*smoke, "--split", "lake", "--damage", "0.5")))
    on_runs = record_in(fewshot("evaluate", damaged, "--protocol", "runs"))
    assert (on_runs.trained.corruption, on_runs.test.corruption) == (0.5, 0.0), "the runs are as published"
    assert "--split lake" in fewshot(*smoke, "--protocol", "runs").error
    hausdorff = record_in(fewshot("run", "--model", "hausdorff", "--split", "lake", "--protocol", "runs"))
    assert hausdorff.protocol == "omniglot-lake-28/20w1s/runs@v1"
    assert record_in(fewshot("hausdorff", "--size", "28")).correct == hausdorff.correct
