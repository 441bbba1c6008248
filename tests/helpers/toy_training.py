"""A training small enough to be repeated, stopped and killed in tests."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.factory import place
from fewshot.models.methods import Method
from fewshot.statistics.intervals import Interval
from fewshot.training.loop import Progress, TrainingResult, train
from fewshot.training.recipes import Recipe
from toy_classes import QUICK, toy_method, toy_set

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


def press_ctrl_c_at(episode: int) -> Callable[[Progress], None]:
    """Callback that sends this process a SIGINT once training stands at that episode."""

    def observe(progress: Progress) -> None:
        if progress.episode == episode:
            signal.raise_signal(signal.SIGINT)

    return observe


def scripted(accuracies: list[float], looks: list[dict[str, Tensor]]) -> Callable[[Method], Interval]:
    """A validation that keeps the weights it saw and answers from a list."""

    def look(method: Method) -> Interval:
        looks.append(weights_of(method))
        return Interval(accuracies[len(looks) - 1], 0.01, 100)

    return look
