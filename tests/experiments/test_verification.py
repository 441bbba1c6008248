from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from fewshot.experiments import verify
from fewshot.experiments.measure import OWN_RULE
from fewshot.experiments.publish import find_weights
from fewshot.experiments.verify import Verification
from fewshot.records.record import RunRecord, read_record, write_record
from records import a_record, changed


def recounted(record: RunRecord, counts: np.ndarray) -> RunRecord:
    """The record with other correct queries, in harmony with itself."""
    return changed(record, counts=counts)


def path_in(out: str) -> Path:
    (line,) = [line for line in out.splitlines() if line.startswith("record ")]
    return Path(line.split(maxsplit=1)[1])


def test_a_record_measured_again_on_its_episodes_stands(fewshot: Fewshot) -> None:
    path = path_in(fewshot(*SMOKE).out)
    outcome = fewshot("verify", path)
    assert outcome.status == 0, outcome.err
    assert "data      as recorded" in outcome.out
    assert "episodes  as recorded, 20" in outcome.out
    assert "every episode has the recorded number of correct queries" in outcome.out
    assert outcome.out.endswith("verdict   the number stands\n")


def test_the_weights_are_found_where_they_were_published(fewshot: Fewshot) -> None:
    path = path_in(fewshot(*SMOKE).out)
    checkpoint = checkpoint_of(read_record(path))
    published = Path("results/weights") / f"{checkpoint.parent.name}.safetensors"
    published.parent.mkdir(parents=True)
    checkpoint.rename(published)
    outcome = fewshot("verify", path)
    assert outcome.status == 0, outcome.err
    assert f"weights   {published}" in outcome.out
    published.unlink()
    assert "are neither beside it nor runs/checkpoints" in fewshot("verify", path).error


def test_other_counts_other_episodes_and_other_data_are_told_with_status_1(fewshot: Fewshot) -> None:
    path = path_in(fewshot(*SMOKE).out)
    record = read_record(path)
    counts = record.counts.copy()
    counts[:3] = np.where(counts[:3] > 2, counts[:3] - 2, counts[:3] + 2)
    write_record(recounted(record, counts), path)
    outcome = fewshot("verify", path)
    assert outcome.status == 1
    assert "3 of 20 episodes differ, by 2 queries at most" in outcome.out
    assert "does NOT stand" in outcome.out
    write_record(changed(record, episodes_digest="0" * 64), path)
    outcome = fewshot("verify", path)
    assert outcome.status == 1
    assert "episodes  NOT those of the record" in outcome.out
    write_record(changed(record, protocol=record.protocol.replace("@v1", "@v0")), path)
    assert "(version 0; today's is 1)" in fewshot("verify", path).out


def test_weights_of_another_training_are_refused(fewshot: Fewshot) -> None:
    path = path_in(fewshot(*SMOKE).out)
    record = read_record(path)
    write_record(changed(record, seed=77), path)
    assert "is of another training" in fewshot("verify", path).error
    write_record(changed(record, trained={"val_images": "other"}), path)
    assert "its val_images is" in fewshot("verify", path).error


def test_of_several_records_the_one_that_cannot_be_verified_is_named(fewshot: Fewshot) -> None:
    path = path_in(fewshot(*SMOKE).out)
    own = write_record(changed(read_record(path), recipe="own"), Path("own.json"))
    outcome = fewshot("verify", path, own)
    assert outcome.status == 1
    assert "cannot be verified: own.json is of embeddings made elsewhere" in outcome.out
    assert outcome.out.endswith("1 of 2 numbers stand\n")


def test_readouts_unlabeled_images_and_unbalanced_queries_are_part_of_what_is_measured_again(fewshot: Fewshot) -> None:
    read_out = fewshot(*SMOKE, "--readout", "prototype")
    assert record_in(read_out).readout != OWN_RULE
    semi = fewshot(*SMOKE, "--model", "masked-proto", "--unlabeled", "3", "--distractors", "1")
    unbalanced = fewshot(*SMOKE, "--query", "3", "--dirichlet", "2")
    assert record_in(unbalanced).test.dirichlet == record_in(unbalanced).protocol_name.dirichlet == 2
    for outcome in (read_out, semi, unbalanced):
        assert fewshot("verify", path_in(outcome.out)).status == 0


SPREAD = np.asarray([60, 75] * 200, np.uint16)  # of 75 queries: a standard deviation of 0.1, a half width of 0.0098


def verification(moves: list[int], of: np.ndarray = SPREAD, **changes: Any) -> Verification:
    """What is found where the first episodes have so many correct queries more."""
    counts = of.astype(np.int64)
    counts[: len(moves)] += np.asarray(moves, np.int64)
    record = a_record(of, test={"precision": "fp32"}, num_episodes=len(of))
    return replace(Verification(record, Path("w"), counts.astype(np.uint16), True, (), "fp32"), **changes)


@pytest.mark.parametrize(("queries", "stands"), [(0, True), (29, True), (30, False)])
def test_a_number_stands_when_it_moves_by_no_more_than_a_tenth_of_its_interval(queries: int, stands: bool) -> None:
    """A tenth of 0.0098 are 29.5 of all 400 x 75 queries; half of it where it is measured in another precision."""
    for sign, of in ((1, SPREAD), (-1, SPREAD[::-1])):
        found = verification([sign, 0] * queries, of)
        assert found.stands == stands
        assert found.exact == (queries == 0)
        assert ("rounding of another machine" in found.lines()[-1]) == (stands and queries != 0)
    assert not replace(found, episodes_equal=False).stands
    assert not replace(found, other_data=("val",)).stands
    assert replace(found, precision="bf16").stands
    assert not verification([1, 0] * 148, precision="bf16").stands


def test_other_weights_are_told_by_single_episodes_even_where_the_mean_is_the_same() -> None:
    """Episodes that move up and down by 2 of 75 queries: 0.027 on the mean, of which 0.01 are allowed."""
    found = verification([2, -2] * 200)
    assert found.moved.mean() == pytest.approx(0)
    assert not found.stands
    assert verification([2, -2] * 70).stands


def test_what_may_move_is_always_said() -> None:
    for moves in ([], [1]):
        (line,) = [line for line in verification(moves).lines() if line.startswith("moved ")]
        assert "points, 0.0984 are allowed; an episode by" in line
        assert line.endswith("on the mean, 1.0000 are allowed")


def test_the_first_episodes_alone_are_measured_where_so_many_are_said(fewshot: Fewshot) -> None:
    path = path_in(fewshot(*SMOKE).out)
    outcome = fewshot("verify", path, "--episodes", "5")
    assert outcome.status == 0, outcome.err
    assert "episodes  as recorded, 20; measured are the first 5 (--episodes 20 measures all)" in outcome.out
    record = read_record(path)
    counts = record.counts.copy()
    counts[4] = counts[4] + 1 if counts[4] < 10 else counts[4] - 1
    write_record(recounted(record, counts), path)
    assert "1 of 5 episodes differ" in fewshot("verify", path, "--episodes", "5").out
    assert "every episode has the recorded" in fewshot("verify", path, "--episodes", "4").out


def test_where_bf16_would_be_emulated_a_part_is_measured(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_in(fewshot(*SMOKE).out)
    monkeypatch.setattr(verify, "_FIRST", 7)
    for fast, said in ((True, "as recorded, 20\n"), (False, "measured are the first 7 ")):
        monkeypatch.setattr(verify, "has_fast_bf16", lambda _, fast=fast: fast)
        assert said in fewshot("verify", path).out


def test_weights_beside_the_record_come_before_those_that_it_names(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = path_in(fewshot(*SMOKE).out).resolve()
    checkpoint = checkpoint_of(read_record(path)).resolve()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    beside = path.parent / f"{checkpoint.parent.name}.safetensors"
    beside.write_bytes(checkpoint.read_bytes())
    assert f"weights   {beside}" in fewshot("verify", path).out
    checkpoint.unlink()
    monkeypatch.chdir(elsewhere)
    assert fewshot("verify", path).status == 0
    monkeypatch.chdir(path.parent)
    assert fewshot("verify", path.name).status == 0


def test_a_record_in_bf16_is_verified_in_fp32_where_bf16_would_be_emulated(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_in(fewshot(*SMOKE, "--precision", "bf16").out)
    assert "precision bf16, recorded bf16" in fewshot("verify", path, "--precision", "bf16").out
    for fast, used in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(verify, "has_fast_bf16", lambda _, fast=fast: fast)
        monkeypatch.setattr("fewshot.models.hardware.has_fast_bf16", lambda _, fast=fast: fast)
        assert f"precision {used}, recorded bf16" in fewshot("verify", path).out
    assert "Valid:" in fewshot("verify", path, "--precision", "fp8").error


def test_published_weights_are_found_beside_the_record_from_any_folder(tmp_path: Path) -> None:
    """The record lies in another checkout's results/runs, and this folder has no results."""
    record = a_record(trained={"checkpoint": "gone/proto-1234/checkpoint.safetensors"})
    weights = tmp_path / "results" / "weights" / "proto-1234.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert find_weights(record, tmp_path / "results" / "runs" / "a.json", Path("results")) == weights
