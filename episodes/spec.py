"""Splits, and how many classes and images an episode has. No torch, so that records and tables can use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from episodes.errors import EpisodeError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class EpisodeSpec:
    """Classes and images per class of an episode. ``num_query`` and ``num_unlabeled`` count per class."""

    way: int
    shot: int
    num_query: int
    num_unlabeled: int = 0
    num_distractor: int = 0

    def __post_init__(self) -> None:
        for name, least in (("way", 1), ("shot", 1), ("num_query", 1), ("num_unlabeled", 0), ("num_distractor", 0)):
            if getattr(self, name) < least:
                raise EpisodeError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if self.num_distractor and not self.num_unlabeled:
            raise EpisodeError("distractor classes need unlabeled images: set num_unlabeled to 1 or more")

    @property
    def num_queries(self) -> int:
        """Queries of the whole episode."""
        return self.way * self.num_query

    @property
    def num_images(self) -> int:
        """Images of the whole episode."""
        return self.way * (self.shot + self.num_query) + (self.way + self.num_distractor) * self.num_unlabeled
