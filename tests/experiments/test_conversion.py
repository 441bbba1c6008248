"""One training under several rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import SMOKE, Fewshot, checkpoint_of, isolated, record_in
from fewshot.models.tensor_files import load_tensors
from fewshot.records.record import RunRecord
from fewshot.records.schema import Rule


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conversion")


@pytest.fixture
def fewshot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path) -> object:
    with isolated(capsys, monkeypatch, trained) as call:
        yield call


TEST = ("--episodes", "20", "--query", "5")


def of_proto(fewshot: Fewshot) -> RunRecord:
    return record_in(fewshot(*SMOKE, "--model", "proto"))


def test_a_supervised_network_is_refined_in_the_test_alone(fewshot: Fewshot) -> None:
    supervised = of_proto(fewshot)
    refined = record_in(
        fewshot("evaluate", checkpoint_of(supervised), "--as", "soft-kmeans-proto", "--unlabeled", "3", *TEST)
    )
    assert (refined.model, refined.uses_unlabeled) == ("soft-kmeans-proto", True)
    assert refined.protocol.endswith("/q5u3@v1")
    assert refined.trained.trained_as == Rule(model="proto", model_options={})
    assert refined.history == supervised.history
    before, after = (load_tensors(checkpoint_of(record))[0] for record in (supervised, refined))
    assert all(before[name].equal(tensor) for name, tensor in after.items())


def test_the_supervised_record_stays_beside_the_refined_one(fewshot: Fewshot, trained: Path) -> None:
    supervised = of_proto(fewshot)
    fewshot("evaluate", checkpoint_of(supervised), "--as", "soft-kmeans-proto", *TEST)
    models = {path.name.split("_")[0] for path in (trained / "runs" / "records").iterdir()}
    assert {"proto", "soft-kmeans-proto"} <= models
    assert of_proto(fewshot).accuracy == supervised.accuracy


def test_a_relation_network_is_tested_with_the_statistics_of_the_test_batch(fewshot: Fewshot) -> None:
    inductive = record_in(fewshot(*SMOKE, "--model", "relation"))
    words = ("evaluate", checkpoint_of(inductive), "--batch-norm", "transductive", *TEST)
    transductive = record_in(fewshot(*words))
    assert (inductive.transductive, transductive.transductive) == (False, True)
    assert transductive.trained.model_options == {"batch_norm": "transductive"}
    assert transductive.history == inductive.history
    assert transductive.correct != inductive.correct


def test_a_rule_whose_weights_were_never_trained_is_refused(fewshot: Fewshot) -> None:
    checkpoint = checkpoint_of(of_proto(fewshot))
    error = fewshot("evaluate", checkpoint, "--as", "masked-proto", *TEST).error
    assert "was trained as proto and has no weights for mask_network" in error
    assert "fewshot run --model masked-proto" in error


def test_unlabeled_images_for_a_rule_without_any_use_for_them_are_refused(fewshot: Fewshot) -> None:
    error = fewshot("evaluate", checkpoint_of(of_proto(fewshot)), "--unlabeled", "3", *TEST).error
    assert "makes no use of unlabeled images" in error


def test_a_note_is_kept_in_the_record(fewshot: Fewshot) -> None:
    record = record_in(
        fewshot("evaluate", checkpoint_of(of_proto(fewshot)), "--note", "longer training is left", *TEST)
    )
    assert record.notes == ["longer training is left"]
