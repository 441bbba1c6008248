"""Called by test_compiled_steps.py: plain and compiled steps side by side, as JSON on standard output."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from typing import Any

import torch

from fewshot.models.methods import Method
from fewshot.training.step import compiled_loss, loss_of
from registered import batch_for, build
from toy_classes import QUICK
from toy_training import trained

compiler: Any = torch.compile


def without_the_last_stage(function: Any, *, dynamic: bool, mode: str | None) -> Any:  # noqa: ARG001
    """All of the compiler but what makes machine code, which takes long."""
    return compiler(function, backend="aot_eager", dynamic=dynamic)


def gradient_of(method: Method) -> torch.Tensor:
    """All of it as one vector."""
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def one_step(name: str) -> list[float]:
    """Relative difference of loss and gradient."""
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
    return [relative(*losses), relative(*gradients)]


def relative(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Length of the difference over that of what is expected."""
    return float((found - expected).norm() / expected.norm())


def one_training() -> list[float]:
    """Relative difference of the last loss and of all weights, through the whole compiler."""
    recipe = replace(QUICK, train_episodes=6, validate_every=3)
    (weights, result), (found, compiled_result) = trained(recipe), trained(recipe, compiled=True)
    losses = [torch.tensor(one.history[-1].loss) for one in (result, compiled_result)]
    chosen = [torch.cat([tensor.double().flatten() for tensor in one.values()]) for one in (weights, found)]
    return [relative(*losses), relative(*chosen)]


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
