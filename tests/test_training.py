"""train(): same seed, same bits; stopped anywhere and started again, the same bits; val chooses; bad losses stop it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_classes import QUICK, toy_method, toy_set

from episodes.errors import Interrupted
from episodes.sampler import EpisodeSampler
from episodes.types import EpisodeSpec
from fewshot import training
from fewshot.building import place
from fewshot.checkpoints import CheckpointError, load_tensors
from fewshot.evaluation import evaluate
from fewshot.methods import EpisodeImages, Method
from fewshot.recipes import Recipe, find_recipe
from fewshot.statistics import Interval, interval_over_episodes
from fewshot.training import Progress, TrainingError, TrainingResult, train

SPEC = EpisodeSpec(way=4, shot=1, num_query=2)


def sampler_of(seed: int = 0) -> EpisodeSampler:
    return EpisodeSampler(toy_set(noise=90), SPEC, seed)


def measure(method: Method) -> Interval:
    return evaluate(method, EpisodeSampler(toy_set(noise=90, seed=1, split="val"), SPEC, 1), 20).interval


def method_of(seed: int = 0) -> Method:
    return place(toy_method(seed=seed), torch.device("cpu"))


def weights_of(method: Method) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def identical(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def trained(
    recipe: Recipe = QUICK, seed: int = 0, state_path: Path | None = None, **more: Any
) -> tuple[dict[str, Tensor], TrainingResult]:
    method = method_of(seed)
    result = train(method, sampler_of(seed), recipe, measure, state_path=state_path, **more)
    return weights_of(method), result


def no_seconds(result: TrainingResult) -> list[tuple[int, float, float]]:
    return [(validation.episode, validation.accuracy, validation.ci95) for validation in result.history]


class Noisy(Method):
    """Prototypes behind dropout: a method that draws at random in training."""

    title = source = "a test's"

    def __init__(self, method: Method) -> None:
        super().__init__(method.encoder)
        self.dropout = nn.Dropout(0.5)

    def logits(self, support: Tensor, query: Tensor, unlabeled: Tensor | None = None) -> Tensor:
        return -torch.cdist(self.dropout(query), support.mean(2)).square()


@pytest.fixture
def every_step_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_STATES", -1.0)
    monkeypatch.setattr(training, "_LOSS_CHECK", 1)


def press_ctrl_c_at(episode: int) -> Callable[[Progress], None]:
    """Callback that sends this process a SIGINT once training stands at that episode."""

    def observe(progress: Progress) -> None:
        if progress.episode == episode:
            signal.raise_signal(signal.SIGINT)

    return observe


def test_one_seed_gives_one_set_of_weights_and_another_seed_another() -> None:
    (first, result), (again, result_again), (other, _) = trained(), trained(), trained(seed=1)
    assert identical(first, again)
    assert no_seconds(result) == no_seconds(result_again)
    assert not identical(first, other)


def test_training_lowers_the_loss_and_raises_the_accuracy() -> None:
    before = measure(method_of())
    _, result = trained(replace(QUICK, train_episodes=80, validate_every=20))
    losses = [validation.loss for validation in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert result.selected.accuracy > before.mean + before.ci95


def test_weights_depend_on_the_seed_and_not_on_the_global_random_state_which_stays_as_it_was() -> None:
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        method = Noisy(method_of())
        train(method, sampler_of(), QUICK, measure)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights_of(method))
    assert identical(*found)


def test_dropout_draws_anew_in_each_step_and_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[int, list[float]] = {0: [], 1: []}
    for seed, numbers in drawn.items():

        def step(*_: Any, numbers: list[float] = numbers, **__: Any) -> Tensor:
            numbers.append(torch.rand(()).item())
            return torch.zeros(())

        monkeypatch.setattr(training, "train_step", step)
        train(method_of(), sampler_of(seed), QUICK, measure)
    assert len({*drawn[0], *drawn[1]}) == 2 * QUICK.train_episodes


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
    optimizer = training.optimizer_for(method, QUICK)
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
import episodes.files as files
import test_training as here
from fewshot import training
from fewshot.checkpoints import save_tensors
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
    put_in_place, writes = files.put_in_place, []
    def put(written, target):
        writes.append(1)
        if len(writes) == count and not after:
            die()
        put_in_place(written, target)
        if len(writes) == count:
            die()
    files.put_in_place = put

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

recipe = replace(QUICK, train_episodes=80)
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
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
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


def scripted(accuracies: list[float], looks: list[dict[str, Tensor]]) -> Callable[[Method], Interval]:
    """A validation that keeps the weights it saw and answers from a list."""

    def look(method: Method) -> Interval:
        looks.append(weights_of(method))
        return Interval(accuracies[len(looks) - 1], 0.01, 100)

    return look


@pytest.mark.parametrize(
    ("accuracies", "best"), [([0.3, 0.9, 0.5], 1), ([0.3, 0.5, 0.9], 2), ([0.9, 0.5, 0.3], 0), ([0.2, 0.8, 0.8], 1)]
)
def test_the_weights_that_validated_best_are_kept_the_earlier_at_a_tie(accuracies: list[float], best: int) -> None:
    looks: list[dict[str, Tensor]] = []
    method = method_of()
    result = train(method, sampler_of(), QUICK, scripted(accuracies, looks))
    assert len(looks) == 3
    assert identical(weights_of(method), looks[best])
    assert result.selected.episode == 10 * (best + 1)
    assert result.selected.accuracy == accuracies[best]
    assert [validation.accuracy for validation in result.history] == accuracies


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


def test_the_last_episode_is_validated_even_off_the_beat() -> None:
    _, result = trained(replace(QUICK, train_episodes=14))
    assert [validation.episode for validation in result.history] == [10, 14]


def test_validation_sees_the_method_in_evaluation_and_training_goes_on_in_training_mode() -> None:
    modes: list[bool] = []

    class Watched(Noisy):
        def loss(self, batch: EpisodeImages) -> Tensor:
            modes.append(self.training and self.encoder.training)
            return super().loss(batch)

    train(Watched(method_of()), sampler_of(), QUICK, measure)
    assert modes == [True] * QUICK.train_episodes


class Exploding(Noisy):
    """Its loss is no number from training episode ``at`` on."""

    def __init__(self, method: Method, at: int, value: float = math.nan) -> None:
        super().__init__(method)
        self.at, self.value, self.steps = at, value, 0

    def loss(self, batch: EpisodeImages) -> Tensor:
        self.steps += 1
        return super().loss(batch) * (self.value if self.steps >= self.at else 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [1, 13, 30])
def test_a_loss_that_is_no_number_stops_training_with_one_line_and_spoils_nothing(
    tmp_path: Path, at: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_STATES", -1.0)
    monkeypatch.setattr(training, "_LOSS_CHECK", 4)
    path = tmp_path / "state.safetensors"
    with pytest.raises(TrainingError, match=r"no longer a number .*--learning-rate") as error:
        train(Exploding(method_of(), at, value), sampler_of(), QUICK, measure, state_path=path)
    assert "\n" not in str(error.value)
    if at == 1:
        assert not path.exists()
    else:
        tensors, metadata = load_tensors(path)
        assert metadata["episode"] < at
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_weights_that_the_last_step_spoiled_are_neither_chosen_nor_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of a step is that of the weights before it: the last step has no later loss to give it away."""
    step = training.train_step
    count: list[int] = []

    def spoil_at_10(method: Method, *arguments: Any) -> Tensor:
        loss = step(method, *arguments)
        count.append(1)
        if len(count) == 10:
            next(method.parameters()).data.fill_(math.nan)
        return loss

    monkeypatch.setattr(training, "train_step", spoil_at_10)
    with pytest.raises(TrainingError, match="weights are no longer numbers after training episode 10"):
        trained(replace(QUICK, train_episodes=10), state_path=tmp_path / "state.safetensors")
    assert not (tmp_path / "state.safetensors").exists()


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


def test_the_optimizer_follows_the_schedule_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []

    def step(_: Method, optimizer: torch.optim.Optimizer, *__: Any) -> Tensor:
        used.extend(group["lr"] for group in optimizer.param_groups)
        return torch.zeros(())

    monkeypatch.setattr(training, "train_step", step)
    recipe = replace(QUICK, schedule="halving", halve_every=8, warmup=0, learning_rate=0.4)
    train(method_of(), sampler_of(), recipe, measure)
    assert used == [0.4] * 8 + [0.2] * 8 + [0.1] * 8 + [0.05] * 6


def test_the_paper_halves_every_2000_episodes_and_trains_60_and_30_and_20_ways() -> None:
    omniglot = find_recipe("paper", "omniglot", shot=1)
    assert (omniglot.train_way, omniglot.train_query, omniglot.learning_rate) == (60, 5, 1e-3)
    rates = [omniglot.learning_rate_at(episode) for episode in (0, 1999, 2000, 3999, 4000, 19_999)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 1e-3 * 0.5**9])
    mini = [find_recipe("paper", "miniimagenet", shot=shot) for shot in (1, 5)]
    assert [(recipe.train_way, recipe.train_query) for recipe in mini] == [(30, 15), (20, 15)]
    assert [recipe.train_shot for recipe in (omniglot, *mini)] == [None] * 3  # as in the test


def test_a_cosine_schedule_warms_up_and_falls_to_nothing() -> None:
    rates = [QUICK.learning_rate_at(episode) for episode in range(QUICK.train_episodes)]
    assert rates[:3] == pytest.approx([QUICK.learning_rate * share for share in (1 / 3, 2 / 3, 1)])
    assert max(rates) == QUICK.learning_rate
    assert all(np.diff(rates[3:]) < 0)
    assert 0 < rates[-1] < 0.01 * QUICK.learning_rate


def test_progress_tells_episode_loss_speed_and_the_last_validation() -> None:
    seen: list[Progress] = []
    trained(replace(QUICK, train_episodes=40, validate_every=40), on_progress=seen.append)
    assert [progress.episode for progress in seen] == [20, 40]
    assert seen[0].validation is None
    assert seen[1].validation is not None
    assert seen[1].validation.episode == 40
    assert all(progress.train_episodes == 40 and progress.episodes_per_second > 0 for progress in seen)
    assert all(0 < progress.loss < 20 for progress in seen)


def test_each_episode_is_trained_on_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes are drawn ahead in bundles; the trained ones are 0, 1, 2, ... nonetheless."""
    rows: list[list[int]] = []

    def step(_: Method, __: Any, ___: Tensor, episode: Any, ____: str) -> Tensor:
        assert len(episode) == 1
        rows.append(episode.support.flatten().tolist())
        return torch.zeros(())

    monkeypatch.setattr(training, "train_step", step)
    sampler = sampler_of()
    train(method_of(), sampler, replace(QUICK, train_episodes=100, validate_every=50), measure)
    assert rows == [sampler[index].support.flatten().tolist() for index in range(100)]


def test_weight_decay_pulls_the_weights_toward_zero() -> None:
    decayed, _ = trained(replace(QUICK, weight_decay=1.0))
    plain, _ = trained()
    name = "encoder.blocks.1.convolution.weight"
    assert decayed[name].norm() < plain[name].norm()


def test_validation_is_told_apart_from_training_by_its_own_interval() -> None:
    _, result = trained()
    last = result.history[-1]
    counts = evaluate(method_of(), EpisodeSampler(toy_set(noise=90, seed=1, split="val"), SPEC, 1), 20).correct
    assert 0 < last.ci95 < 1
    assert 0 <= last.accuracy <= 1
    assert interval_over_episodes(counts / SPEC.num_queries).n == 20
