"""Called by test_compiled_steps.py: plain and compiled steps side by side, as JSON on standard output."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch._dynamo.backends.registry import lookup_backend

from episodes.sampler import ClassBatchSampler
from fewshot.models.factory import build_method
from fewshot.models.methods import Method
from fewshot.training.loop import train
from fewshot.training.step import compiled_loss, loss_of
from registered import batch_for, build
from toy_classes import QUICK, toy_set
from toy_training import measure

compiler: Any = torch.compile
compiled: list[Any] = []  # the graphs that the compiler was handed


def without_the_last_stage(function: Any, *, dynamic: bool, mode: str | None) -> Any:  # noqa: ARG001
    """All of the compiler but what makes machine code, which takes long."""

    def counted(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return lookup_backend("aot_eager")(graph, inputs)

    return compiler(function, backend=counted, dynamic=dynamic)


def gradient_of(method: Method) -> torch.Tensor:
    """All of it as one vector."""
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def one_step(name: str) -> list[float]:
    """Relative difference of loss and gradient, and in how many graphs the step was compiled."""
    torch._dynamo.reset()  # after eight versions of one function, the compiler leaves it as it is
    compiled.clear()
    losses, gradients = [], []
    for loss in (loss_of, compiled_loss(torch.device("cpu"))):
        method = build((name, {}))
        method.train()
        episodes = batch_for(method)
        torch.manual_seed(0)
        losses.append(
            loss(method, episodes if method.trains_on == "episodes" else episodes.labeled(method.views), False)
        )
        torch.autograd.backward(losses[-1])
        gradients.append(gradient_of(method))
    return [relative(*losses), relative(*gradients), len(compiled)]


def relative(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Length of the difference over that of what is expected."""
    return float((found - expected).norm() / expected.norm())


def one_training() -> list[float]:
    """Relative difference of the mean loss and of all weights after six steps, through the whole compiler.

    A linear classifier on pixels: every further layer takes a C++ compiler some seconds. The one look at the
    validation classes comes behind the last step; where rounding moves one query, two would choose other weights.
    """
    recipe, losses, weights = replace(QUICK, train_episodes=6, validate_every=6), [], []
    for compiled in (False, True):
        method = build_method("softmax", {}, "pixels", {}, (1, 28, 28), seed=0, num_classes=8)
        sampler = ClassBatchSampler(toy_set(noise=90), 16, seed=0)
        result = train(method, sampler, recipe, measure, compiled=compiled)
        losses.append(torch.tensor(result.history[-1].loss))
        weights.append(torch.cat([tensor.double().flatten() for tensor in method.state_dict().values()]))
    return [relative(*losses), relative(*weights)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers = {}
    for asked in sys.argv[1:]:
        if asked == "training":
            answers[asked] = one_training()
            continue
        torch.compile = without_the_last_stage  # type: ignore[assignment]
        answers[asked] = one_step(asked)
    print(json.dumps(answers))
