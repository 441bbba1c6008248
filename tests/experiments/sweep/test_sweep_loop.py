"""Many runs: in this process, or several at once, each in a process of its own."""

from __future__ import annotations

import json
import resource
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from command_line import FEW_STROKES, checkpoint_of
from episodes.datasets.cards import DATASETS
from episodes.errors import Interrupted
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.paper_plan import fill, run_of
from fewshot.experiments.sweep.executors import InThisProcess, Processes
from fewshot.experiments.sweep.jobs import Job, Place, chains_of, perform, work_of
from fewshot.experiments.sweep.loop import ATTEMPTS, sweep
from fewshot.models.tensor_files import load_tensors
from fewshot.progress import Reporter
from fewshot.records.paper_tables import paper_table
from fewshot.records.record import read_records
from fewshot.training.loop import Progress as TrainingProgress
from forked import fork_what_is_spawned
from played_runs import play
from toy_runs import Listener

PROTO = RunConfig(dataset="strokes", recipe="smoke", encoder_options={"width": 8}, query=5, episodes=20)
REFINED = EvaluateConfig(as_model="soft-kmeans-proto", unlabeled=2, query=5, episodes=20)
JOBS = [
    Job("proto", PROTO),
    Job("refined", PROTO, (REFINED,)),
    Job("siamese", replace(PROTO, model="siamese-cosine")),
]


def script(folder: Path, wait_for: Sequence[str] = (), failing: str = "", dying: str = "") -> Place:
    """What happens in runs that are played."""
    (folder / "script.json").write_text(json.dumps({"wait_for": wait_for, "failing": failing, "dying": dying}))
    return Place(folder)


def test_jobs_that_share_a_training_stand_in_one_chain() -> None:
    assert chains_of(JOBS) == [JOBS[:2], JOBS[2:]]
    others = [Job("longer", replace(PROTO, train_episodes=99)), Job("seed", replace(PROTO, seed=1))]
    assert len(chains_of([*JOBS, *others])) == 4
    assert work_of(JOBS)["proto"] == work_of(JOBS)["siamese"] == 20 * 5 * (1 + 5) * 28 * 28
    assert work_of(JOBS)["refined"] == 0


def test_tests_at_other_ways_and_shots_wait_for_the_training_that_they_share() -> None:
    """Two processes at one training would be refused: proto's fast recipe on Omniglot is the same for all four."""
    cells = [cell for cell in fill(paper_table("snell2017-table1"), []) if cell.row.ours is not None]
    jobs = [Job(f"{cell.row.name} {cell.column.title}", run_of(cell)) for cell in cells]
    assert len(jobs) == 8
    assert [job for job in jobs if job.config.model == "proto"] in chains_of(jobs)


@pytest.fixture
def few_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in a tenth of the time; in this process alone."""
    monkeypatch.setitem(DATASETS._entries, "strokes", FEW_STROKES)


@pytest.mark.usefixtures("few_strokes")
def test_a_job_that_cannot_be_is_named_and_the_others_are_made(tmp_path: Path) -> None:
    """In this process, and for real."""
    impossible = Job("nobody's", replace(PROTO, model="matching", recipe="paper"))
    said: list[str] = []
    act = partial(perform, place=Place(tmp_path), reporter=Reporter())
    outcomes, failures = sweep([impossible, JOBS[1]], InThisProcess(), act, said.append)
    assert [record.model for record, _ in outcomes] == ["proto", "soft-kmeans-proto"]
    assert failures == ["nobody's: no paper gives a whole recipe for matching on strokes: use --recipe fast"]
    assert said[0].startswith("1/2 nobody's failed: no paper gives")
    assert said[1].startswith("2/2 refined ")
    assert "left" in said[0]
    command = outcomes[1][0].command
    assert command.startswith(f"fewshot evaluate {tmp_path}/checkpoints/proto-strokes")
    assert command.endswith("--query 5 --unlabeled 2 --episodes 20 --as soft-kmeans-proto")


def test_processes_run_at_once_and_tell_what_they_do_under_their_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each ends only when the other has begun: one after the other they would wait in vain."""
    place, said = script(tmp_path, wait_for=("proto", "siamese-cosine")), list[str]()
    with Processes(2) as engine:
        outcomes, failures = sweep(JOBS, engine, partial(play, place=place), said.append)
    assert failures == []
    assert [record.model for record, _ in outcomes] == ["proto", "proto", "siamese-cosine"]
    assert json.loads((tmp_path / "proto").read_text()) == ["proto", "refined"]
    assert "[siamese] training siamese-cosine" in capfd.readouterr().err
    assert said[-1].startswith("3/3 ")


def test_one_that_fails_or_dies_leaves_the_others_be_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_what_is_spawned(monkeypatch)
    place = script(tmp_path, failing="proto", dying="matching")
    jobs = [JOBS[0], JOBS[2], Job("matching", replace(PROTO, model="matching"))]
    with Processes(3) as engine:
        outcomes, failures = sweep(jobs, engine, partial(play, place=place), lambda _: None)
    assert [record.model for record, _ in outcomes] == ["siamese-cosine"]
    assert failures[0] == "proto: no such luck"
    assert failures[1].startswith("matching: its worker ended without an answer, 3 times (")
    assert (tmp_path / "deaths").read_text().split() == ["matching"] * ATTEMPTS


def test_ctrl_c_lets_all_of_them_save_and_begins_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_what_is_spawned(monkeypatch)
    place = script(tmp_path, wait_for=("nobody",))
    jobs = [*JOBS, Job("third", replace(PROTO, model="matching"))]

    def interrupt() -> None:
        while sum((tmp_path / name).exists() for name in ("proto", "siamese-cosine", "matching")) < 2:
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a shell that runs the tests in the background ignores Ctrl-C
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="goes on from there"), Processes(2) as engine:
        sweep(jobs, engine, partial(play, place=place), lambda _: None)
    assert len([*tmp_path.glob("* saved")]) == 2
    assert signal.getsignal(signal.SIGINT) is before


class FullDisk(Listener):
    """Lets the disk take no more than 4 KB a file behind the first look of the first run."""

    def training_progress(self, progress: TrainingProgress) -> None:
        super().training_progress(progress)
        if len(self.trained) == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, LIMIT[1]))


LIMIT = resource.getrlimit(resource.RLIMIT_FSIZE)


@pytest.mark.usefixtures("few_strokes")
def test_a_full_disk_is_named_in_a_line_and_the_same_sweep_goes_on_later(tmp_path: Path) -> None:
    job, place = JOBS[0], Place(tmp_path / "runs")
    try:
        _, failures = sweep([job], InThisProcess(), partial(perform, place=place, reporter=FullDisk()), print)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, LIMIT)
    (failure,) = failures
    (state,) = place.out.glob("checkpoints/*/state.safetensors")
    assert failure.startswith(f"proto: cannot write {state}: File too large; ")
    assert len(failure.splitlines()) == 1
    assert load_tensors(state)[1]["episode"] == 10
    assert sorted(path.name for path in state.parent.iterdir()) == [".lock", "state.safetensors"]
    later = Listener()
    outcomes, failures = sweep([job], InThisProcess(), partial(perform, place=place, reporter=later), print)
    assert failures == []
    assert later.trained == [20]
    (undisturbed,) = perform([job], Place(tmp_path / "undisturbed"), Reporter())
    assert isinstance(undisturbed, list)
    one, other = (load_tensors(checkpoint_of(record))[0] for record, _ in (*outcomes, *undisturbed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(read_records([place.out / "records"])) == 1
