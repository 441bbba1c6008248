from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from fewshot.experiments import verify
from fewshot.experiments.measure import OWN_RULE
from fewshot.experiments.verify import Verification, find_weights
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
    assert "are neither runs/checkpoints" in fewshot("verify", path).error


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


@pytest.mark.parametrize(("moved", "stands"), [(0.0, True), (0.0009, True), (0.0011, False), (-0.0011, False)])
def test_a_number_stands_when_it_moves_by_no_more_than_a_tenth_of_its_interval(
    fewshot: Fewshot, moved: float, stands: bool
) -> None:
    record = changed(record_in(fewshot(*SMOKE)), ci95=0.01)
    here: Any = record.test.precision
    found = Verification(record, Path("w"), record.accuracy + moved, True, (), int(moved != 0), 1, here)
    assert found.stands == stands
    assert found.exact == (moved == 0)
    assert ("rounding of another machine" in found.lines()[-1]) == (stands and moved != 0)
    assert not replace(found, episodes_equal=False).stands
    assert not replace(found, other_data=("val",)).stands
    other: Any = "bf16" if here == "fp32" else "fp32"
    assert replace(found, precision=other).stands  # where half of the interval is allowed
    assert not replace(found, precision=other, accuracy=record.accuracy + 0.006).stands


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
    assert find_weights(tmp_path / "results" / "runs" / "a.json", record, Path("results")) == weights
