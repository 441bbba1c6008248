"""train(): same seed, same bits; val chooses; every episode once and in order; bad losses stop it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fewshot.models.batches import EpisodeImages
from fewshot.models.methods import Method
from fewshot.models.tensor_files import load_tensors
from fewshot.training import loop as training
from fewshot.training.loop import Progress, TrainingError, train
from fewshot.training.step import train_step
from toy_classes import QUICK
from toy_training import (
    Noisy,
    identical,
    measure,
    method_of,
    no_seconds,
    sampler_of,
    scripted,
    trained,
    weights_of,
)


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
    assert result.selected.accuracy > before.mean + before.half_width


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
    step = train_step
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


def test_the_optimizer_follows_the_schedule_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []

    def step(_: Method, optimizer: torch.optim.Optimizer, *__: Any) -> Tensor:
        used.extend(group["lr"] for group in optimizer.param_groups)
        return torch.zeros(())

    monkeypatch.setattr(training, "train_step", step)
    recipe = replace(QUICK, schedule="halving", halve_every=8, warmup=0, learning_rate=0.4)
    train(method_of(), sampler_of(), recipe, measure)
    assert used == [0.4] * 8 + [0.2] * 8 + [0.1] * 8 + [0.05] * 6


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

    def step(_: Method, __: Any, ___: Tensor, episode: Any, *____: Any) -> Tensor:
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
