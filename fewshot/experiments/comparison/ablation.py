"""What the fast recipes owe to each of their parts: each switched on and off alone, on equal terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from episodes.datasets.cards import DATASETS
from fewshot.experiments.config import RunConfig
from fewshot.models.methods import METHODS

Part = tuple[Mapping[str, Any], Mapping[str, Any]]
"""What is said to have a part of a recipe, and what to be without it."""


@dataclass(frozen=True)
class AblationRun:
    """One training: the recipe with a part, or without it."""

    part: str
    present: bool
    config: RunConfig


def parts_of(dataset: str, model: str) -> dict[str, Part]:
    """The parts by name. Losses on batches have neither support nor way.

    The way is that of the recipe, and without it the largest of the field's tests.
    """
    found: dict[str, Part] = {
        "Muon": ({"optimizer": "muon", "weight_decay": 1.0}, {"optimizer": "adam", "weight_decay": 0.0}),
        "flips": ({"augment": "flip"}, {"augment": "none"}),
    }
    if METHODS.get(model).trains_on == "episodes":
        found["support rotation"] = {"turns": True}, {"turns": False}
        found["way"] = {}, {"train_way": DATASETS.get(dataset).benchmarks[0].ways[-1]}
    return found


def ablation(
    dataset: str, losses: Sequence[str], seeds: Sequence[int] = (0, 1, 2), terms: str | None = None
) -> list[AblationRun]:
    """The trainings for proto and some losses, each part on and off with every seed; all else is as in the recipe."""
    return [
        AblationRun(part, present, RunConfig(model=model, dataset=dataset, terms=terms, seed=seed, **said))
        for model in ("proto", *losses)
        for part, choices in parts_of(dataset, model).items()
        for present, said in zip((True, False), choices, strict=True)
        for seed in seeds
    ]
