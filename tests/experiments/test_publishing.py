"""From a run of one's own to a row that is committed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command_line import Fewshot
from fewshot.experiments import publish as publishing
from fewshot.experiments import resolve
from fewshot.experiments.publish import MOST_BYTES_OF_ALL, MOST_BYTES_OF_ONE, weights_path
from fewshot.models.factory import load_trained
from fewshot.models.tensor_files import half_bytes, load_tensors, save_tensors, tensors_bytes
from fewshot.records.record import RunRecord, read_record, write_record
from fewshot.records.schema import trained_of
from fewshot.reports import results as written
from records import changed as with_changes
from toy_classes import QUICK, FewStrokes
from toy_runs import CONFIG, run

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a tiny training, beside its checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve, "commit", lambda: "0" * 40)
        config = replace(CONFIG, recipe=replace(QUICK, name="fast"))
        return run(config, FewStrokes(), tmp_path_factory.mktemp("runs"))[1]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def changed(measured: Path, folder: Path, **changes: Any) -> Path:
    return write_record(with_changes(read_record(measured), **changes), folder / "records" / "changed.json")


def as_published(record: RunRecord) -> RunRecord:
    """Its checkpoint lies in a folder of this machine, of which the published copy says nothing."""
    stated = Path(record.trained.checkpoint)
    assert stated.is_absolute()
    return with_changes(record, trained={"checkpoint": f"runs/checkpoints/{stated.parent.name}/{stated.name}"})


def test_a_record_is_published_with_its_weights_and_the_tables(fewshot: Fewshot, measured: Path) -> None:
    outcome = fewshot("publish", measured)
    assert outcome.status == 0, outcome.err
    record = read_record(measured)
    weights = weights_path(record, Path("results"))
    assert files_in(Path("results")) >= {f"runs/{measured.name}", f"weights/{weights.name}", "leaderboard.md"}
    assert f"{100 * record.accuracy:.2f} ±" in Path("results/leaderboard.md").read_text()
    assert read_record(Path("results/runs", measured.name)) == as_published(record)
    again = fewshot("evaluate", weights, "--way", "4", "--query", "5", "--episodes", "30", "--precision", "fp32")
    assert again.status == 0, again.err
    assert record.percent() in again.out
    assert Path("runs/records", measured.name).exists()  # one cell, wherever its weights lie


def test_seeds_of_one_configuration_are_published_one_after_the_other_and_are_one_row(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "commit", lambda: "0" * 40)
    config = replace(CONFIG, recipe=replace(QUICK, name="fast"))
    found = [run(replace(config, seed=seed), FewStrokes(), tmp_path / "runs") for seed in range(3)]
    other = run(replace(config, model="matching"), FewStrokes(), tmp_path / "runs")[1]
    first, *later = [path for _, path in found]
    assert fewshot("publish", first).status == 0
    assert fewshot("publish", *later, other).status == 0, "beside the one that is there"
    assert len(list(Path("results/weights").iterdir())) == len(list(Path("results/runs").iterdir())) == 4
    rows = {row["model"]: row for row in json.loads(fewshot("leaderboard", "--json").out)}
    assert {model: row["seeds"] for model, row in rows.items()} == {"proto": 3, "matching": 1}
    (proto, matching) = rows["proto"], rows["matching"]
    assert proto["accuracy"] == pytest.approx(100 * np.mean([record.accuracy for record, _ in found]))
    assert proto["ci95"] == pytest.approx(np.hypot(proto["ci95_seeds"], proto["ci95_episodes"]))
    assert (matching["ci95"], matching["ci95_seeds"]) == (matching["ci95_episodes"], None)
    assert "not another training" in matching["interval_covers"]
    compared = fewshot("compare", "proto", "matching").out
    assert re.search(r"^proto .* 3$", compared, re.MULTILINE), "of three seeds"
    compared = " ".join(compared.split())
    assert "interval over seeds and episodes together" in compared
    assert "One training seed of matching" in compared


def test_of_a_loss_on_images_the_encoder_alone_is_published_and_tests_the_same(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "commit", lambda: "0" * 40)
    recipe = replace(QUICK, name="fast", train_way=None, train_shot=None, batch_size=12, val_shot=1)
    record, path = run(replace(CONFIG, model="softmax", recipe=recipe), FewStrokes(), tmp_path / "runs")
    assert fewshot("publish", path).status == 0
    weights = weights_path(record, Path("results"))
    names = load_tensors(weights)[0]
    assert names
    assert all(name.startswith("encoder.") for name in names)
    counts = ("--way", CONFIG.way, "--query", CONFIG.query, "--episodes", CONFIG.episodes)
    again = fewshot("evaluate", weights, *map(str, counts), "--precision", "fp32")
    assert again.status == 0, again.err
    assert record.percent() in again.out


def test_converted_weights_are_published_without_tensors_where_those_of_their_training_are(
    fewshot: Fewshot, measured: Path
) -> None:
    trained = read_record(measured)
    test = ("--way", str(CONFIG.way), "--query", "5", "--episodes", "20", "--precision", "fp32")
    outcome = fewshot("evaluate", trained.trained.checkpoint, "--as", "soft-kmeans-proto", *test)
    assert outcome.status == 0, outcome.err
    (path,) = Path("runs/records").glob("soft-kmeans-proto*")
    alone, borrowing = (weights_path(read_record(path), Path(folder)) for folder in ("alone", "results"))
    assert fewshot("publish", path, "--results", "alone").status == 0
    assert fewshot("publish", measured).status == 0
    assert fewshot("publish", path).status == 0
    assert borrowing.stat().st_size < 5_000 < alone.stat().st_size
    (tensors, metadata), (expected, said) = load_tensors(borrowing), load_tensors(alone)
    assert (metadata, tensors.keys()) == (said, expected.keys())
    assert all(tensors[name].equal(tensor) for name, tensor in expected.items())
    again = fewshot("evaluate", borrowing, *test)
    assert read_record(path).percent() in again.out
    assert fewshot("publish", Path("results/runs", path.name), "--results", "elsewhere").status == 0
    assert weights_path(read_record(path), Path("elsewhere")).stat().st_size == alone.stat().st_size
    lender = weights_path(trained, Path("results"))
    held, of_lender = load_tensors(lender)
    save_tensors(lender, {name: tensor + 1 for name, tensor in held.items()}, of_lender)
    assert f"has its weights in {lender.name} beside it, which holds others now" in fewshot("evaluate", borrowing).error
    lender.unlink()
    assert f"in {lender.name}, which is not beside it: copy both" in fewshot("evaluate", borrowing).error


def test_half_weights_are_half_as_large_and_the_number_stands(fewshot: Fewshot, measured: Path) -> None:
    record = read_record(measured)
    weights = weights_path(record, Path("results"))
    assert fewshot("publish", measured).status == 0
    whole, size = load_tensors(weights)[0], weights.stat().st_size
    outcome = fewshot("publish", Path("results/runs", measured.name), "--half-weights")
    assert outcome.status == 0, outcome.err
    assert f"{measured.name} stands: " in outcome.out
    kept = load_tensors(weights)[0]
    assert size - weights.stat().st_size >= 2 * sum(t.numel() for t in whole.values() if t.ndim > 1) - 200
    assert kept.keys() == whole.keys()
    for name, tensor in whole.items():
        assert kept[name].dtype == tensor.dtype
        torch.testing.assert_close(kept[name], tensor, rtol=2**-11, atol=1e-7)
        assert tensor.ndim > 1 or kept[name].equal(tensor), "of one dimension: to the bit"
    assert any(not kept[name].equal(whole[name]) for name in whole)
    assert f"{weights}, kept in half precision\n" in fewshot("verify", Path("results/runs", measured.name)).out
    assert read_record(Path("results/runs", measured.name)) == as_published(record)


def test_weights_that_move_the_number_stay_whole(
    fewshot: Fewshot, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(tensors: Any, metadata: Any) -> bytes:
        return tensors_bytes({name: t.sign() if t.ndim > 1 else t for name, t in tensors.items()}, metadata)

    monkeypatch.setattr(publishing, "half_bytes", coarse)
    assert f"{measured} does not stand with its weights in half" in fewshot("publish", measured, "--half-weights").error
    assert not Path("results").exists()


def test_half_weights_need_every_record_that_shares_them(fewshot: Fewshot, measured: Path) -> None:
    trained = read_record(measured).trained.checkpoint
    test = ("--way", "3", "--query", "5", "--episodes", "20", "--precision", "fp32")
    for converted in ((), ("--as", "soft-kmeans-proto")):
        assert fewshot("evaluate", trained, *converted, *test).status == 0
    first, other = sorted(Path("runs/records").glob("*_3w*.json"))
    assert fewshot("publish", measured, first, other).status == 0
    published = [Path("results/runs", path.name) for path in (measured, first, other)]
    before = {path: path.read_bytes() for path in Path("results/weights").iterdir()}
    for asked in (published[:1], published[:2], published[1:]):
        assert "needs all records of a training" in fewshot("publish", *asked, "--half-weights").error
    assert before == {path: path.read_bytes() for path in Path("results/weights").iterdir()}
    assert fewshot("publish", *published, "--half-weights").status == 0
    assert "2 of 2 numbers stand" in fewshot("verify", *published[1:]).out


def test_what_float16_cannot_hold_is_kept_whole(tmp_path: Path) -> None:
    tensors = {"wide": torch.full((2, 2), 1e5), "narrow": torch.full((2, 2), 0.1), "counted": torch.tensor([[7]])}
    (tmp_path / "half.safetensors").write_bytes(half_bytes(tensors, {"model": "proto"}))
    kept, metadata = load_tensors(tmp_path / "half.safetensors")
    assert metadata == {"model": "proto"}
    assert kept["wide"].equal(tensors["wide"])
    assert kept["counted"].equal(tensors["counted"])
    assert kept["narrow"].dtype == torch.float32
    assert kept["narrow"][0, 0] == pytest.approx(0.1, rel=2**-11)


def test_a_note_joins_those_of_the_published_copy_alone(fewshot: Fewshot, measured: Path) -> None:
    before = measured.read_bytes()
    assert fewshot("publish", measured, "--note", "longer training is left").status == 0
    published = read_record(Path("results/runs", measured.name))
    before_it = as_published(read_record(measured))
    assert published == with_changes(before_it, notes=[*published.notes[:-1], "longer training is left"])
    assert measured.read_bytes() == before


def test_a_record_that_was_moved_with_its_checkpoint_finds_its_weights(
    fewshot: Fewshot, measured: Path, tmp_path: Path
) -> None:
    shutil.copytree(measured.parent.parent, tmp_path / "moved")
    stated = Path(read_record(measured).trained.checkpoint)
    gone = {"checkpoint": f"gone/{stated.parent.name}/checkpoint.safetensors"}
    moved = changed(measured, tmp_path / "moved", trained=gone)
    assert fewshot("publish", moved).status == 0
    shutil.rmtree(tmp_path / "moved" / "checkpoints")
    assert fewshot("publish", moved).status == 0  # the published weights are there
    shutil.rmtree("results/weights")
    assert "--without-weights" in fewshot("publish", moved).error
    assert fewshot("publish", moved, "--without-weights").status == 0
    assert not Path("results/weights").exists()
    published = read_record(Path("results/runs", moved.name))
    assert published.notes[-1] == "Committed without its weights."
    assert published.without_weights
    assert not read_record(moved).without_weights


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"recipe": "smoke"}, "smoke test"),
        ({"commit": "abc+changes"}, "no commit"),
        ({"commit": "unknown"}, "no commit"),
    ],
)
def test_what_is_no_result_is_refused_and_nothing_is_changed(
    fewshot: Fewshot, measured: Path, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    assert why in fewshot("publish", measured, changed(measured, tmp_path, **changes)).error
    assert not Path("results").exists()


def test_where_the_tables_cannot_be_made_nothing_is_copied(fewshot: Fewshot, measured: Path) -> None:
    bad = Path("results/runs/bad.json")
    bad.parent.mkdir(parents=True)
    bad.write_text("{}")
    assert "bad.json" in fewshot("publish", measured).error
    assert files_in(Path("results")) == {"runs/bad.json"}


def test_while_one_publishes_or_writes_another_waits(
    fewshot: Fewshot, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.open(".", os.O_RDONLY)  # the folder around results/
    held = []

    def locked(*_: Any) -> Any:
        with pytest.raises(BlockingIOError):
            fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(True)
        return {}

    monkeypatch.setattr(written, "files_of", locked)
    monkeypatch.setattr(publishing, "_refuse_too_much", locked)
    assert fewshot("publish", measured).status == 0
    assert fewshot("leaderboard", "--write").status == 0
    assert held == [True] * 3
    fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    os.close(here)


@pytest.mark.parametrize("harm", ["a bit", "not a number"])
def test_damaged_weights_and_weights_that_are_no_numbers_are_refused(
    fewshot: Fewshot, measured: Path, tmp_path: Path, harm: str
) -> None:
    shutil.copytree(measured.parent.parent, tmp_path / "moved")
    (weights,) = (tmp_path / "moved").glob("checkpoints/*/checkpoint.safetensors")
    if harm == "a bit":
        content = bytearray(weights.read_bytes())
        content[-3] ^= 1
        weights.write_bytes(content)
    else:
        tensors, metadata = load_tensors(weights)
        spoiled = {name: t * torch.nan if t.is_floating_point() else t for name, t in tensors.items()}
        save_tensors(weights, spoiled, metadata)
    said = fewshot("publish", tmp_path / "moved" / "records" / measured.name).error
    assert ("is damaged" if harm == "a bit" else "NaN or infinite weights") in said
    assert not Path("results").exists()


def test_a_checkpoint_of_another_training_is_refused(fewshot: Fewshot, measured: Path, tmp_path: Path) -> None:
    assert "its seed is 0" in fewshot("publish", changed(measured, tmp_path, seed=7)).error


def test_weights_too_large_to_commit_are_refused(
    fewshot: Fewshot, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = Path(read_record(measured).trained.checkpoint).stat().st_size
    monkeypatch.setattr(publishing, "MOST_BYTES_OF_ONE", size - 1)
    assert "--without-weights" in fewshot("publish", measured).error
    monkeypatch.setattr(publishing, "MOST_BYTES_OF_ONE", size)
    Path("results/weights").mkdir(parents=True)
    Path("results/weights/other.safetensors").write_bytes(b"0" * 100)
    monkeypatch.setattr(publishing, "MOST_BYTES_OF_ALL", size + 99)
    assert f"{size + 100:,} bytes" in fewshot("publish", measured).error
    monkeypatch.setattr(publishing, "MOST_BYTES_OF_ALL", size + 100)
    assert fewshot("publish", measured).status == 0


def test_every_committed_record_has_its_weights_or_says_that_it_has_none() -> None:
    for record in map(read_record, sorted((RESULTS / "runs").glob("*.json"))):
        there = weights_path(record, RESULTS).is_file() or not record.trained.checkpoint
        assert there != record.without_weights, record.trained.checkpoint


def test_committed_weights_load_belong_to_a_committed_record_and_are_small() -> None:
    records = [read_record(path) for path in sorted((RESULTS / "runs").glob("*.json"))]
    behind = {weights_path(record, RESULTS): record for record in records}
    weights = sorted((RESULTS / "weights").glob("*"))
    assert sum(path.stat().st_size for path in weights) <= MOST_BYTES_OF_ALL
    for path in weights:
        assert path.stat().st_size <= MOST_BYTES_OF_ONE, path.name
        metadata = load_trained(path, torch.device("cpu")).metadata
        assert trained_of(metadata, behind[path].trained.checkpoint) == behind[path].trained, path.name
