"""Embeddings made elsewhere: the order of their rows is exported, what does not fit is said in one line."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command_line import Fewshot
from episodes.images.export import export_images
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import DataError
from fewshot.evaluation.evaluate import embed_all, evaluate
from fewshot.experiments import external_embeddings
from fewshot.experiments.config import EvaluateConfig
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.external_embeddings import EmbeddingsError, check_name, read_own_embeddings
from fewshot.models.readouts import READOUTS
from fewshot.records.record import read_record
from photo_builders import save_classes
from toy_classes import FewStrokes, toy_method

TEST = FewStrokes().load("test")
NUM_IMAGES, CPU = len(TEST.images), torch.device("cpu")
TEST_WORDS = ("--dataset", "strokes", "--episodes", "20", "--query", "5", "--name", "mine", "--trained-on", "lines")


def embeddings(dim: int = 6, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((NUM_IMAGES, dim)).astype(np.float32)


def test_the_export_holds_the_images_in_the_order_of_the_rows(fewshot: Fewshot) -> None:
    outcome = fewshot("data", "export", "strokes", "mine.npz")
    assert outcome.out == f"mine.npz: {NUM_IMAGES} images of 12 classes, strokes-standard-28-c50 test\n"
    with np.load("mine.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["images"], TEST.images.numpy())
        assert np.array_equal(archive["class_ids"], TEST.class_ids.numpy())
        assert tuple(archive["class_names"]) == TEST.class_names
        assert str(archive["fingerprint"]) == TEST.pixels_digest
        assert (str(archive["pixels"]), str(archive["part"])) == ("strokes-standard-28-c50", "test")
    assert fewshot("data", "export", "strokes", "--part", "train").out.startswith("strokes-standard-28-c50-train.npz: ")


def test_an_export_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("a file")
    with pytest.raises(DataError, match="cannot write"):
        export_images(TEST, "strokes", tmp_path / "in the way" / "mine.npz")


def test_what_is_exported_embedded_and_read_back_scores_as_the_model_itself(fewshot: Fewshot) -> None:
    fewshot("data", "export", "strokes", "test.npz")
    method = toy_method()
    with np.load("test.npz") as archive:
        table = embed_all(method, torch.from_numpy(archive["images"]), "fp32").numpy()
        np.savez("mine.npz", embeddings=table, fingerprint=archive["fingerprint"])
    outcome = fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS, "--json")
    assert outcome.status == 0, outcome.err
    record = json.loads(outcome.out)
    sampler = EpisodeSampler(TEST, EpisodeSpec(5, 1, 5), 0)
    expected = evaluate(method, sampler, 20)
    (path,) = Path("runs/records").glob("*.json")
    assert np.array_equal(read_record(path).counts, expected.correct)
    assert record["episodes_digest"] == sampler.digest(20)
    assert (record["trained"]["model"], record["readout"], record["trained"]["recipe"]["name"]) == (
        "mine",
        "prototype",
        "own",
    )
    assert path.name.startswith("mine_strokes-standard-28-c50_5w1s_q5_own_prototype_")


def test_every_readout_and_setting_is_scored_from_one_file(fewshot: Fewshot) -> None:
    np.savez("mine.npz", embeddings=embeddings(), train_mean=np.zeros(6))
    words = ("--readout", "all", "--way", "3,5", "--shot", "1,2")
    outcome = fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS, *words)
    assert outcome.status == 0, outcome.err
    assert len(re.findall(r"^strokes-standard", outcome.out, re.MULTILINE)) == 4 * len(READOUTS)
    assert "embeddings  mine.npz" in outcome.out
    assert len([*Path("runs/records").glob("mine_*.json")]) == 4 * len(READOUTS)


def test_other_numbers_under_the_same_name_are_another_record(tmp_path: Path) -> None:
    paths = set()
    for seed in (0, 1):
        file = tmp_path / "mine.npz"
        np.savez(file, embeddings=embeddings(seed=seed))
        config = EvaluateConfig(
            embeddings=file, name="mine", trained_on="lines", way=(5,), shot=(1,), query=5, episodes=20, device="cpu"
        )
        ((_, path),) = evaluate_again(config, FewStrokes(), tmp_path)
        paths.add(path)
    assert len(paths) == 2


def test_the_mean_of_the_training_images_may_be_given_or_taken_from_their_embeddings(tmp_path: Path) -> None:
    training = np.random.default_rng(1).standard_normal((9, 6))
    np.savez(tmp_path / "a.npz", embeddings=embeddings(), train_embeddings=training)
    np.savez(tmp_path / "b.npz", embeddings=embeddings(), train_mean=training.mean(0))
    first, second = (read_own_embeddings(tmp_path / name, TEST, CPU).train_mean() for name in ("a.npz", "b.npz"))
    torch.testing.assert_close(first, second)


def wrong(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def write_pickle(path: Path) -> None:
    np.savez(path, embeddings=np.array([{"a": 1}], dtype=object))


def write_bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, embeddings())


def written(name: str, content: bytes, **how: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", **how) as archive:
            archive.writestr(name, content)

    return write


def flipped(compression: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        written("embeddings.npy", bytes(4000), compression=compression)(path)
        damaged = bytearray(path.read_bytes())
        damaged[60:75] = b"\xff" * 15
        path.write_bytes(damaged)

    return write


def encrypted(path: Path) -> None:
    written("embeddings.npy", bytes(100))(path)
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }"
ROWS = b"\x93NUMPY\x01\x00" + (64).to_bytes(2, "little")
ROWS += b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }     \n" + bytes(16)
WRONG = [
    (written("embeddings.npy", b"hello"), r"is no NumPy archive of numbers"),
    (written("embeddings", b"hello"), r"is no NumPy archive of numbers"),
    (written("embeddings.npy", b""), r"is no NumPy archive of numbers"),
    (flipped(zipfile.ZIP_DEFLATED), r"is no NumPy archive of numbers"),
    (flipped(zipfile.ZIP_LZMA), r"is no NumPy archive of numbers"),
    (flipped(zipfile.ZIP_BZIP2), r"is no NumPy archive of numbers"),
    (written("embeddings.npy", ROWS + bytes(8)), r"numbers \(embeddings\.npy goes on behind its array\)"),
    (encrypted, r"is no NumPy archive of numbers"),
    (
        written("embeddings.npy", b"\x93NUMPY\x01\x00" + len(HUGE).to_bytes(2, "little") + HUGE),
        r"is no NumPy archive of numbers",
    ),
    (wrong(embedding=embeddings()), r"holds no array called embeddings but embedding: write it with numpy\.savez"),
    (
        wrong(embeddings=embeddings()[:-1]),
        rf"holds {NUM_IMAGES - 1} embeddings and strokes-\S+ test has {NUM_IMAGES}",
    ),
    (wrong(embeddings=embeddings().reshape(-1)), r"embeddings must hold numbers \(images, dim\), not float32"),
    (wrong(embeddings=embeddings().astype(str)), r"embeddings must hold numbers"),
    (wrong(embeddings=np.full((NUM_IMAGES, 3), np.nan)), r"embeddings holds numbers that are not finite"),
    (
        wrong(embeddings=embeddings(), fingerprint="0" * 64),
        r"made from other images than those of strokes-\S+ test here",
    ),
    (wrong(embeddings=embeddings(), train_mean=np.zeros(5)), r"have 6 numbers each and those of the training images 5"),
    (write_pickle, r"is no NumPy archive of numbers"),
    (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), r"is no NumPy archive of numbers"),
    (lambda path: path.write_text("text"), r"is no NumPy archive of numbers"),
    (write_bare_array, r"no array called embeddings but one bare array without a name"),
    (lambda path: None, r"there is no file"),
]


@pytest.mark.parametrize(("write", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_file_that_does_not_fit_is_answered_in_one_line(
    tmp_path: Path, write: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / "mine.npz"
    write(path)
    with pytest.raises(EmbeddingsError, match=message) as error:
        read_own_embeddings(path, TEST, CPU)
    assert "\n" not in str(error.value)


def test_more_numbers_than_the_ceiling_are_refused_with_what_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_embeddings, "_MOST_BYTES", 20_000)
    np.savez_compressed(tmp_path / "mine.npz", embeddings=embeddings(), train_embeddings=np.zeros((3000, 6)))
    with pytest.raises(EmbeddingsError, match=r"holds .* once unpacked, 20,000 are the most: .* train_mean, is enough"):
        read_own_embeddings(tmp_path / "mine.npz", TEST, CPU)


def test_names_without_letters_and_without_end_are_counted_before_they_are_read(tmp_path: Path) -> None:
    header = b"{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"
    np.savez(tmp_path / "mine.npz", embeddings=embeddings())
    with zipfile.ZipFile(tmp_path / "mine.npz", "a") as archive:
        archive.writestr("files.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(EmbeddingsError, match=f"must name each of the {NUM_IMAGES} embeddings"):
        read_own_embeddings(tmp_path / "mine.npz", TEST, CPU, ["a.png"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--readout", "simpleshot"), r"neither train_mean \(dim,\) nor train_embeddings .* leave these read-outs out"),
        (("--readout", "own"), r"no rule of their own: name a read-out"),
        (("--readout", "svn"), r"unknown read-out 'svn'\. Did you mean 'svm'"),
        (("--as", "proto"), r"no meaning for --embeddings"),
        (("checkpoint.safetensors",), r"stands in the place of CHECKPOINT: give one of them"),
        (("--name", "proto"), r"--name proto is a model of this program"),
        (("--name", "a/b"), r"--name 'a/b': use letters"),
        (("--name", ""), r"an empty word stands behind .--name"),
        (("--trained-on", ""), r"an empty word stands behind .--trained-on"),
    ],
    ids=str,
)
def test_what_does_not_go_with_own_embeddings_is_answered_in_one_line(
    fewshot: Fewshot, words: tuple[str, ...], message: str
) -> None:
    np.savez("mine.npz", embeddings=embeddings())
    assert re.search(message, fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS, *words).error)
    assert not Path("runs").exists()


def test_embeddings_of_no_named_data_set_are_never_scored_by_the_labels_of_another(fewshot: Fewshot) -> None:
    """As many rows as strokes has test images, which stand in for Omniglot elsewhere: here nobody said so."""
    np.savez("mine.npz", embeddings=embeddings())
    outcome = fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS[2:])
    *_, error = outcome.err.splitlines()  # the others tell of the download that is tried
    assert outcome.status == 2
    assert "without --dataset, embeddings are taken as those of Omniglot's test images, and Omniglot is not " in error
    assert error.endswith("name the data set that they are of with --dataset")
    assert not Path("runs").exists()


def test_the_data_set_whose_labels_are_used_is_said_where_none_is_named(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewshot.experiments.evaluate.DEFAULT_DATASET", "strokes")
    np.savez("mine.npz", embeddings=embeddings())
    said = "the embeddings are taken as those of the test images of strokes-standard-28-c50, and its labels are used."
    assert said in fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS[2:]).err
    assert said not in fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS).err


def test_a_name_without_own_embeddings_and_a_file_without_export_are_refused(fewshot: Fewshot) -> None:
    assert (
        "--name and --trained-on tell of embeddings" in fewshot("evaluate", "model.safetensors", "--name", "mine").error
    )
    assert "only for `data export`" in fewshot("data", "check", "strokes", "mine.npz").error


def test_a_name_may_hold_letters_digits_dots_and_dashes() -> None:
    assert check_name("CLIP-ViT-B.16+pca") == "CLIP-ViT-B.16+pca"


def test_the_example_of_the_page_makes_a_file_that_is_scored(fewshot: Fewshot) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "readouts.md").read_text(encoding="utf-8")
    (example,) = (block for block in re.findall(r"```py\n(.*?)```", page, re.DOTALL) if "mine.npz" in block)
    assert fewshot("data", "export", "strokes", "test.npz").status == 0
    exec(
        compile(example, "docs/howto/readouts.md", "exec"),
        {"my_model": lambda images: images.reshape(len(images), -1)[:, :50]},
    )
    words = ("--way", "5,10", "--shot", "1,5", "--readout", "prototype,svm")
    outcome = fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS, *words)
    assert outcome.status == 0, outcome.err
    assert len([*Path("runs/records").glob("*.json")]) == 8


def test_rows_are_found_by_the_names_of_the_files(fewshot: Fewshot) -> None:
    save_classes(Path("photos"), {"a": 6, "b": 7, "c": 6})
    assert fewshot("data", "export", "photos", "photos.npz", "--size", "32").status == 0
    with np.load("photos.npz") as archive:
        images, files = archive["images"], archive["files"]
    assert images.shape == (19, 3, 32, 32)
    table = images.reshape(19, -1).astype(np.float32)
    order = np.random.default_rng(0).permutation(19)
    words = ("evaluate", "--dataset", "photos", "--size", "32", "--name", "mine", "--trained-on", "noise")
    shape = ("--way", "3", "--query", "4", "--episodes", "30", "--json", "--embeddings")
    accuracies = []
    for rows, arrays in ((table, {}), (table[order], {"files": files[order]}), (table[order], {})):
        np.savez("mine.npz", embeddings=rows, **arrays)
        outcome = fewshot(*words, *shape, "mine.npz")
        assert outcome.status == 0, outcome.err
        accuracies.append(json.loads(outcome.out)["accuracy"])
    assert accuracies[0] == accuracies[1] != accuracies[2]
    for wrong, message in (
        (files[:-1], "must name each of the 19 embeddings, each once"),
        (np.repeat(files[:1], 19), "must name each of the 19 embeddings, each once"),
        (np.char.add("photos/", files), "no embedding of 19 of 19 files: a/00.png, a/01.png"),
    ):
        np.savez("mine.npz", embeddings=table, files=wrong)
        assert message in fewshot(*words, *shape, "mine.npz").error
    np.savez("mine.npz", embeddings=embeddings(), files=np.array([f"{row}.png" for row in range(NUM_IMAGES)]))
    assert "these images are no files" in fewshot("evaluate", "--embeddings", "mine.npz", *TEST_WORDS).error
