"""fewshot bench --time-to-accuracy: whole trainings, seed by seed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Namespace

import pytest

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.bench import time_to_accuracy as bench_accuracy
from fewshot.bench.time_to_accuracy import measure_time_to_accuracy
from fewshot.experiments.config import RunConfig
from fewshot.experiments.sweep.jobs import Job, Place
from fewshot.progress import Reporter
from fewshot.records.record import RunRecord
from fewshot.records.schema import Cost, History, StoredValidation
from forked import fork_what_is_spawned
from records import a_record
from toy_runs import run

STROKES, OMNIGLOT = RunConfig(dataset="strokes", episodes=20), RunConfig(dataset="omniglot", episodes=20)
SMOKE = replace(STROKES, recipe="smoke")


def record(accuracy: float, seconds: float, validation: float) -> RunRecord:
    validations = tuple(StoredValidation(episode=episode, accuracy=0.5, ci95=0.1, loss=1.0) for episode in (10, 20))
    return a_record(
        accuracy=accuracy,
        ci95=0.01,
        history=History(validations=validations, selected_episode=10),
        cost=Cost(training_seconds=seconds, validation_seconds=validation, test_seconds=2.0),
    )


class Scripted:
    """Answers each training with the next record and keeps what was asked for, and where."""

    def __init__(self, *records: RunRecord) -> None:
        self.records, self.calls = [*records], list[tuple[RunConfig, Path]]()

    def __call__(self, job: Job, place: Place) -> tuple[RunRecord, float]:
        self.calls.append((job.config, place.out))
        return self.records[len(self.calls) - 1], 100.0


def test_the_median_of_the_seeds_is_held_against_the_target(tmp_path: Path) -> None:
    played = Scripted(record(0.80, 30, 5), record(0.95, 10, 4), record(0.90, 20, 1))
    measured = measure_time_to_accuracy(STROKES, 0.85, 3, tmp_path, Reporter(), played)
    outcome = measured["time_to_accuracy"]
    assert outcome["median_accuracy"] == 0.90
    assert outcome["median_training_seconds"] == 20
    assert outcome["median_seconds_without_validation"] == 19  # of 25, 6 and 19
    assert (outcome["target_met_by_median"], outcome["seeds_that_met_it"]) == (True, 2)
    assert [training["seed"] for training in outcome["trainings"]] == [0, 1, 2]
    figures = {figure["name"].partition(": ")[2]: figure for figure in measured["measurements"]}
    assert figures["accuracy"]["value"] == pytest.approx(90)
    assert "target 85.00 met by 2 of 3" in figures["accuracy"]["what"]


def test_a_median_below_the_target_is_called_a_miss(tmp_path: Path) -> None:
    played = Scripted(record(0.80, 30, 5))
    measured = measure_time_to_accuracy(STROKES, 0.85, 1, tmp_path, Reporter(), played)
    assert not measured["time_to_accuracy"]["target_met_by_median"]


def test_every_seed_trains_in_a_folder_of_its_own_that_is_gone_afterwards(tmp_path: Path) -> None:
    played = Scripted(record(0.9, 1, 0), record(0.9, 1, 0))
    measure_time_to_accuracy(SMOKE, 0.0, 2, tmp_path, Reporter(), played)
    folders = {folder for _, folder in played.calls}
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)
    assert [config.seed for config, _ in played.calls] == [0, 1]
    assert all(config.recipe == "smoke" for config, _ in played.calls)


def test_the_published_number_is_the_target_where_none_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Omniglot:
        protocol_name = "omniglot-vinyals-28"

    monkeypatch.setattr(bench_accuracy, "open_dataset", lambda *_, **__: Omniglot())
    measured = measure_time_to_accuracy(OMNIGLOT, None, 1, tmp_path, Reporter(), Scripted(record(0.9, 1, 0)))
    assert measured["time_to_accuracy"]["target"] == pytest.approx(0.988)


def test_a_number_from_memory_is_no_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_accuracy, "open_dataset", lambda *_, **__: Namespace(protocol_name="omniglot-vinyals-28"))
    with pytest.raises(UserError, match=r"no paper that was read gives a number for gaussian-proto .* --target"):
        measure_time_to_accuracy(replace(OMNIGLOT, model="gaussian-proto"), None, 1, tmp_path, Reporter(), Scripted())


def test_without_a_target_and_a_published_number_it_refuses_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no paper that was read gives a number .* --target"):
        measure_time_to_accuracy(STROKES, None, 1, tmp_path, Reporter(), Scripted())


def test_the_command_trains_for_real_and_its_record_tells_validation_from_training(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, since only here the strokes are few."""

    def in_process(job: Job, place: Place) -> tuple[RunRecord, float]:
        config = replace(job.config, query=5, encoder_options={"width": 8})
        return run(config, None, place.out, root=place.root)[0], 60.0

    monkeypatch.setattr(bench_accuracy, "_run_in_a_process", in_process)
    words = ("--dataset", "strokes", "--recipe", "smoke", "--episodes", "20", "--seeds", "1", "--target", "0")
    outcome = fewshot("bench", "--time-to-accuracy", *words, "--json")
    assert outcome.status == 0, outcome.err
    content = json.loads(outcome.out)["time_to_accuracy"]
    (training,) = content["trainings"]
    assert 0 < training["validation_seconds"] <= training["training_seconds"] < 60
    assert training["episodes"] == 20
    assert content["target_met_by_median"]


def test_a_model_that_there_is_not_is_refused_before_anything_runs(fewshot: Fewshot) -> None:
    assert "Did you mean 'proto'?" in fewshot("bench", "--time-to-accuracy", "--model", "porto").error


def test_a_training_that_fails_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fork_what_is_spawned(monkeypatch)
    monkeypatch.setattr(bench_accuracy, "perform", die)
    with pytest.raises(UserError, match=r"`fewshot run --model proto .*` failed: A process .* terminated abruptly"):
        measure_time_to_accuracy(SMOKE, 0.0, 1, tmp_path, Reporter())


def die(*_: object) -> None:
    os._exit(2)
