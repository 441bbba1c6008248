"""A training that is stopped, killed or out of disk goes on to the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from episodes.errors import Interrupted
from fewshot.models.tensor_files import CheckpointError, load_tensors, save_tensors
from fewshot.training import loop as training
from fewshot.training import optimizers
from fewshot.training.loop import Progress, train
from toy_classes import QUICK
from toy_training import (
    Noisy,
    identical,
    measure,
    method_of,
    no_seconds,
    press_ctrl_c_at,
    sampler_of,
    scripted,
    trained,
    weights_of,
)


@pytest.fixture
def every_step_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_STATES", -1.0)
    monkeypatch.setattr(training, "_LOSS_CHECK", 1)


@pytest.mark.parametrize("episode", [1, 9, 10, 17, 29, 30])
@pytest.mark.usefixtures("every_step_is_saved")
def test_ctrl_c_leaves_a_state_from_which_training_goes_on_to_the_same_bits(tmp_path: Path, episode: int) -> None:
    expected, result = trained()
    path = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted, match=f"stopped after training episode {min(episode + 1, 30)}"):
        trained(state_path=path, on_progress=press_ctrl_c_at(episode))
    assert load_tensors(path)[1]["episode"] == min(episode + 1, 30)
    weights, resumed = trained(state_path=path)
    assert identical(weights, expected)
    assert no_seconds(resumed) == no_seconds(result)


@pytest.mark.usefixtures("every_step_is_saved")
def test_a_method_that_draws_at_random_also_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    undisturbed, resumed = Noisy(method_of()), Noisy(method_of())
    train(undisturbed, sampler_of(), QUICK, measure)
    path = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        train(resumed, sampler_of(), QUICK, measure, state_path=path, on_progress=press_ctrl_c_at(12))
    torch.manual_seed(99)
    train(resumed, sampler_of(), QUICK, measure, state_path=path)
    assert identical(weights_of(resumed), weights_of(undisturbed))


@pytest.mark.usefixtures("every_step_is_saved")
def test_going_on_goes_on_and_does_not_begin_again(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        trained(state_path=path, on_progress=press_ctrl_c_at(20))
    seen: list[int] = []
    trained(state_path=path, on_progress=lambda progress: seen.append(progress.episode))
    assert seen == list(range(22, 31))


@pytest.mark.usefixtures("every_step_is_saved")
def test_a_state_lays_its_moments_in_memory_as_the_weights_lie(tmp_path: Path) -> None:
    """Otherwise a resumed training is slower, and on a GPU takes other kernels."""
    path = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        trained(state_path=path, on_progress=press_ctrl_c_at(5))
    method = method_of()
    optimizer = optimizers.optimizer_for(method, QUICK)
    training._load_state(path, method, optimizer)
    assert len(optimizer.state) == len([*method.parameters()])
    for parameter, moments in optimizer.state.items():
        assert moments["step"].item() == 6
        assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == parameter.stride()


def test_signals_are_handled_as_before_once_training_is_over(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted):
        trained(state_path=tmp_path / "state.safetensors", on_progress=press_ctrl_c_at(10))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_stops_at_once() -> None:
    def press_twice(_: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trained(on_progress=press_twice)


# A process that trains in children of its own, each of which kills itself with SIGKILL at its own moment; the last two
# are left alone: one goes on from what the killed ones left, one trains undisturbed.
_KILLED_TRAININGS = """
import json, os, signal, sys, threading
from pathlib import Path
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
torch.set_num_threads(1)
import toy_training as here
from fewshot.training import loop as training
from fewshot.models.tensor_files import save_tensors
from toy_classes import QUICK
from dataclasses import replace

training._SECONDS_BETWEEN_STATES, training._LOSS_CHECK = -1.0, 3
folder = Path(sys.argv[1])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def in_step(count):
    steps = []
    def hook(*_):
        steps.append(1)
        if len(steps) == count:
            die()
    register_optimizer_step_post_hook(hook)

def in_write(count, after):
    replace, writes = Path.replace, []
    def put(written, target):
        writes.append(1)
        if len(writes) == count and not after:
            die()
        replace(written, target)
        if len(writes) == count:
            die()
    Path.replace = put

def in_validation(count):
    measure, looks = here.measure, []
    def look(method):
        looks.append(1)
        if len(looks) == count:
            die()
        return measure(method)
    here.measure = look

def at_a_random_moment():
    threading.Timer(0.01 + 0.05 * int.from_bytes(os.urandom(2), "little") / 65536, die).start()

recipe = replace(QUICK, train_episodes=50)
deaths = [
    lambda: in_step(2),
    lambda: in_step(11),
    lambda: in_write(1, after=False),
    lambda: in_write(2, after=True),
    lambda: in_validation(1),
    at_a_random_moment,
    lambda: in_write(3, after=False),
    at_a_random_moment,
    lambda: in_validation(2),
    at_a_random_moment,
]
ends, first_seen = [], []
for death in [*deaths, None, "undisturbed"]:
    disturbed = death != "undisturbed"
    state_path = folder / "state.safetensors" if disturbed else None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        if callable(death):
            death()
        note = lambda progress: os.write(writer, f"{progress.episode} ".encode())
        weights, result = here.trained(recipe, state_path=state_path, on_progress=note)
        history = [list(entry) for entry in here.no_seconds(result)]
        name = "disturbed" if disturbed else "undisturbed"
        save_tensors(folder / f"{name}.safetensors", weights, {"history": history, "selected": result.selected.episode})
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        first_seen.append(int((pipe.read().split() or ["0"])[0]))
    status = os.waitpid(child, 0)[1]
    ends.append(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status))
print(json.dumps({"ends": ends, "first_seen": first_seen}))
"""


@pytest.mark.timeout(900)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_and_started_again_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Killed with SIGKILL within a step, within a write, after one, within a validation and at random moments."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])}
    environment["OMP_NUM_THREADS"] = "1"  # one thread, so that the process may fork
    command = [sys.executable, "-c", _KILLED_TRAININGS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=850)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    *killed, resumed, undisturbed = found["ends"]
    assert (resumed, undisturbed) == (0, 0), done.stderr
    assert "Traceback" not in done.stderr
    assert set(killed) <= {signal.SIGKILL, 0}  # a random moment may come after the end
    assert killed.count(signal.SIGKILL) >= 4
    assert found["first_seen"][-2] > 3  # the last one did not begin from the beginning
    weights, metadata = load_tensors(tmp_path / "disturbed.safetensors")
    expected, expected_metadata = load_tensors(tmp_path / "undisturbed.safetensors")
    assert identical(weights, expected)
    assert metadata == expected_metadata


@pytest.mark.usefixtures("every_step_is_saved")
def test_the_best_weights_survive_an_interruption(tmp_path: Path) -> None:
    looks: list[dict[str, Tensor]] = []
    validate, path = scripted([0.9, 0.2, 0.3], looks), tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        train(method_of(), sampler_of(), QUICK, validate, state_path=path, on_progress=press_ctrl_c_at(15))
    method = method_of(seed=9)
    result = train(method, sampler_of(), QUICK, validate, state_path=path)
    assert result.selected.episode == 10
    assert identical(weights_of(method), looks[0])


def test_a_full_disk_stops_training_with_one_line_and_the_former_state_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = trained()
    path = tmp_path / "state.safetensors"
    writes: list[int] = []
    replace_file = Path.replace

    def full_at_the_second(self: Path, target: Path) -> Path:
        writes.append(1)
        if len(writes) == 2:
            raise OSError(28, "No space left on device")
        return replace_file(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_at_the_second)
        with pytest.raises(CheckpointError, match=r"No space left on device.*goes on from there") as error:
            trained(state_path=path)
    assert "\n" not in str(error.value)
    assert load_tensors(path)[1]["episode"] == 10
    assert identical(trained(state_path=path)[0], expected)


def test_a_damaged_state_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"\0" * 500)
    with pytest.raises(CheckpointError, match="damaged: train again with --fresh"):
        trained(state_path=path)


def test_a_state_that_lacks_a_tensor_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        trained(state_path=path, on_progress=lambda _: signal.raise_signal(signal.SIGTERM))
    tensors, metadata = load_tensors(path)
    for missing in (next(iter(tensors)), *[name for name in tensors if name.startswith("optimizer")][:1]):
        save_tensors(path, {name: tensor for name, tensor in tensors.items() if name != missing}, metadata)
        with pytest.raises(CheckpointError, match="is no state of this training: train again with --fresh"):
            trained(state_path=path)
    save_tensors(path, tensors, {name: value for name, value in metadata.items() if name != "history"})
    with pytest.raises(CheckpointError, match="is no state of this training"):
        trained(state_path=path)
