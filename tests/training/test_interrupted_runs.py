"""A run that was stopped, killed, doubled or out of disk: nothing is lost, nothing is spoiled."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import checkpoint_of
from episodes.errors import Interrupted
from fewshot.experiments import run as experiment
from fewshot.models.tensor_files import CheckpointError, load_tensors
from fewshot.training.checkpoints import BusyError
from fewshot.training.loop import TrainingError
from toy_classes import QUICK, FewStrokes
from toy_runs import CONFIG, Listener, run

CPU = torch.device("cpu")


def stopped_state(out: Path) -> Path:
    """The state that an interrupted run left."""
    with pytest.raises(Interrupted, match="the same command goes on"):
        run(CONFIG, FewStrokes(), out, Listener(stop_at=20))
    (state,) = out.glob("checkpoints/*/state.safetensors")
    assert not (state.parent / "checkpoint.safetensors").exists()
    return state


def test_an_interrupted_run_goes_on_to_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, _ = run(CONFIG, FewStrokes(), tmp_path / "undisturbed")
    state = stopped_state(tmp_path / "disturbed")
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path / "disturbed", listener)
    assert min(listener.trained) > 20
    assert not state.exists()
    expected, found = (load_tensors(checkpoint_of(r))[0] for r in (undisturbed, record))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert record.correct == undisturbed.correct


def test_fresh_forgets_the_state_of_an_interrupted_run(tmp_path: Path) -> None:
    stopped_state(tmp_path)
    listener = Listener()
    run(CONFIG, FewStrokes(), tmp_path, listener, fresh=True)
    assert min(listener.trained) <= 20


def test_a_fresh_run_that_is_cut_off_leaves_the_finished_weights_and_goes_on_without_fresh(tmp_path: Path) -> None:
    record, _ = run(CONFIG, FewStrokes(), tmp_path)
    checkpoint = checkpoint_of(record)
    before = checkpoint.read_bytes()
    with pytest.raises(Interrupted, match="--fresh would begin anew"):
        run(CONFIG, FewStrokes(), tmp_path, Listener(stop_at=20), fresh=True)
    assert checkpoint.read_bytes() == before
    listener = Listener()
    run(CONFIG, FewStrokes(), tmp_path, listener)
    assert min(listener.trained) > 20
    assert not (checkpoint.parent / "state.safetensors").exists()


def test_killed_between_the_last_step_and_the_checkpoint_the_run_ends_without_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, _ = run(CONFIG, FewStrokes(), tmp_path / "undisturbed")

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "save_tensors", die)
        with pytest.raises(Killed):
            run(CONFIG, FewStrokes(), tmp_path / "disturbed")
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path / "disturbed", listener)
    assert listener.trained == []
    assert record.correct == undisturbed.correct
    assert record.history.validations[-1].episode == QUICK.train_episodes


def test_a_second_run_of_the_same_training_is_refused_and_harms_nothing_even_with_fresh(tmp_path: Path) -> None:
    state = stopped_state(tmp_path)
    before = state.read_bytes()
    code = (
        "import sys; from pathlib import Path; from fewshot.training.checkpoints import sole_trainer\n"
        "with sole_trainer(Path(sys.argv[1])): print('holding', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(state.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        for fresh in (False, True):
            with pytest.raises(BusyError, match="already running"):
                run(CONFIG, FewStrokes(), tmp_path, fresh=fresh)
        other.kill()
    assert state.read_bytes() == before


def test_a_full_disk_at_the_checkpoint_loses_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "checkpoint.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            run(CONFIG, FewStrokes(), tmp_path)
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path, listener)
    assert listener.trained == []
    assert checkpoint_of(record).is_file()


def test_a_loss_that_is_no_number_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--learning-rate"):
        run(replace(CONFIG, recipe=replace(QUICK, learning_rate=1e30, warmup=0)), FewStrokes(), tmp_path)
    assert [*tmp_path.glob("checkpoints/*/checkpoint.safetensors")] == []
    for state in tmp_path.glob("checkpoints/*/state.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_tensors(state)[0].values())
