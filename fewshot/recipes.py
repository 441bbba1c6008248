"""How a method is trained on a data set: the paper's way, the fast way, and a smoke test. Each names its source."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from episodes.errors import UserError

RecipeName = Literal["fast", "paper", "smoke"]
RECIPES: tuple[RecipeName, ...] = ("fast", "paper", "smoke")


@dataclass(frozen=True)
class Recipe:
    """A training schedule. ``train_way`` and ``train_shot`` of None mean: as in the test.

    The last three are of semi-supervised training (Ren et al. 2018); None where a method sees no unlabeled images.
    """

    name: RecipeName
    source: str
    train_way: int | None
    train_query: int
    train_episodes: int
    learning_rate: float
    schedule: Literal["halving", "cosine"]
    val_way: int | None = None
    train_shot: int | None = None
    halve_every: int = 2000
    warmup: int = 0
    weight_decay: float = 0.0
    val_query: int = 15
    val_episodes: int = 1000
    validate_every: int = 500
    labeled_share: float | None = None  # of the images of each training class; None: all, and no unlabeled pool
    unlabeled: int | None = None  # unlabeled images per class, in training, validation and test
    distractors: int | None = None  # classes of which only unlabeled images are there

    def learning_rate_at(self, episode: int) -> float:
        """The learning rate of training episode ``episode`` (from 0)."""
        if episode < self.warmup:
            return self.learning_rate * (episode + 1) / self.warmup
        if self.schedule == "halving":
            return float(self.learning_rate * 0.5 ** (episode // self.halve_every))
        share = (episode - self.warmup) / max(1, self.train_episodes - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


_SNELL = "Snell et al. 2017, section 3"
_OWN = "this project: chosen on the validation classes"

_PAPER_OMNIGLOT = Recipe("paper", f"{_SNELL}.1", 60, 5, 20_000, 1e-3, "halving", val_way=20)
_PAPER_MINI = Recipe("paper", f"{_SNELL}.2", 30, 15, 40_000, 1e-3, "halving", val_way=5)
_FAST_OMNIGLOT = Recipe("fast", _OWN, 60, 5, 3000, 1e-2, "cosine", val_way=20, warmup=200)
_FAST_MINI = Recipe("fast", _OWN, 20, 5, 10_000, 3e-3, "cosine", val_way=5, warmup=200, validate_every=1000)
_FAST_STROKES = Recipe("fast", _OWN, 60, 5, 1000, 1e-2, "cosine", val_way=20, warmup=100, validate_every=250)
_FAST_FOLDER = Recipe("fast", _OWN, None, 5, 2000, 3e-3, "cosine", warmup=100, val_query=5, val_episodes=500)

_FAST = {"omniglot": _FAST_OMNIGLOT, "miniimagenet": _FAST_MINI, "strokes": _FAST_STROKES, "folder": _FAST_FOLDER}
_PAPER = {"omniglot": _PAPER_OMNIGLOT, "miniimagenet": _PAPER_MINI, "strokes": _PAPER_OMNIGLOT}


def find_recipe(name: RecipeName, dataset: str, shot: int) -> Recipe:
    """The recipe of that name for a data set and test shot. Raises UserError where the paper has none."""
    if name == "paper":
        if dataset not in _PAPER:
            raise UserError(f"no paper gives a recipe for data set {dataset!r}: use --recipe fast")
        recipe = _PAPER[dataset]
        if dataset == "miniimagenet" and shot > 1:  # 30-way at one shot, 20-way at five
            recipe = replace(recipe, train_way=20)
    else:
        recipe = _FAST[dataset]
    if name == "smoke":
        return replace(
            recipe,
            name="smoke",
            source="no paper: a few episodes, to see that everything runs",
            train_way=None,
            train_episodes=20,
            warmup=5,
            val_way=None,
            val_episodes=50,
            validate_every=10,
        )
    return recipe
