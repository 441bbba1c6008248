"""A sweep through submitit, whose local executor stands for SLURM."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from episodes.errors import UserError
from fewshot.experiments.comparison.tuning import read_trials, tune
from fewshot.experiments.config import RunConfig, TuneConfig
from fewshot.experiments.sweep import slurm
from fewshot.experiments.sweep.jobs import Job, Place
from fewshot.experiments.sweep.loop import sweep
from fewshot.experiments.sweep.slurm import Slurm, perform_at_node
from fewshot.experiments.sweep.workers import Workers
from fewshot.records.record import read_records
from running_processes import processes, wait_until
from toy_runs import in_any_process

submitit = pytest.importorskip("submitit")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for that only a slow disk, or SLURM itself, needs; a job has one core, as it asks for one."""
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 0.1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_killed_job_is_begun_again_and_a_node_without_the_images_is_named(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    tiny = in_any_process(tmp_path / "images")
    jobs = [Job("killed", tiny), Job("elsewhere", replace(tiny, dataset="miniimagenet", size=None))]

    def kill() -> None:
        wait_until(lambda: [*out.glob("checkpoints/*/state.safetensors")])
        for pid in processes("submitit.core._submit"):
            os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    said: list[str] = []
    with Slurm(out, cluster="local") as engine:
        outcomes, failures = sweep(jobs, engine, partial(perform_at_node, place=Place(out, tmp_path)), said.append)
    assert [record.model for record, _ in outcomes] == ["proto"]
    assert len(read_records([out / "records"])) == 1
    (failure,) = failures
    assert failure.startswith(f"elsewhere: miniimagenet is not on {platform.node()} in {tmp_path}: put it on a disk")
    assert len(said) == 2
    assert len([*(out / "slurm").glob("*_submitted.pkl")]) == 3, "the killed one twice"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_trials_of_a_search_are_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, tiny = tmp_path / "runs", in_any_process(tmp_path / "images", train_episodes=40)
    changed = {name: value for name, value in tiny.changed().items() if name not in TuneConfig.not_offered}
    config = TuneConfig(**changed, encoder_options=tiny.encoder_options, trials=2)
    monkeypatch.setattr(slurm, "Slurm", partial(Slurm, cluster="local"))
    with Workers("slurm").making(Place(out), lambda _: None) as make:
        tuning = tune(config, None, out, tmp_path, make=make)
    assert read_trials(tuning.path) == tuning.trials
    assert all(trial.val_accuracy is not None for trial in tuning.trials)
    assert len([*(out / "slurm").glob("*_submitted.pkl")]) == 2


def test_a_job_whose_result_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    def job_that(result: Callable[[], int]) -> Any:
        return SimpleNamespace(done=lambda: True, result=result, paths=SimpleNamespace(stderr="7.err"))

    def unreadable() -> int:
        raise OSError("stale file handle")

    jobs = iter([job_that(unreadable), job_that(lambda: 5)])
    with Slurm(tmp_path, cluster="local") as engine:
        engine._executor = SimpleNamespace(submit=lambda *_: next(jobs))  # type: ignore[assignment]
        error = engine.submit(int).exception(timeout=10)
        assert isinstance(error, UserError)
        assert str(error) == "what the job left cannot be read (stale file handle): its log is 7.err"
        assert engine.submit(int).result(timeout=10) == 5


def test_a_node_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "release", lambda: "fewshot-bench 0.0.9")  # of the driver
    with Slurm(tmp_path, cluster="local") as engine:
        _, failures = sweep(
            [Job("old", RunConfig())], engine, partial(perform_at_node, place=Place(tmp_path)), lambda _: None
        )
    (failure,) = failures
    assert f"{platform.node()} has fewshot-bench " in failure
    assert "and this sweep is of fewshot-bench 0.0.9: install the same on both" in failure
