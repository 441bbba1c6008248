"""Splits, how many classes and images an episode has, and what is drawn independently. No torch: tables use it, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from episodes.errors import EpisodeError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class EpisodeSpec:
    """Classes and images per class of an episode. ``num_query`` and ``num_unlabeled`` count per class.

    With ``dirichlet`` the queries are unbalanced: ``num_query`` is their mean number in a class, and what share of them
    each class of an episode has is drawn from a Dirichlet distribution of this concentration (Veilleux et al. 2021).
    """

    way: int
    shot: int
    num_query: int
    num_unlabeled: int = 0
    num_distractor: int = 0
    dirichlet: int | None = field(default=None, repr=False)  # balanced episodes are called as ever: digests hash it

    def __post_init__(self) -> None:
        for name, least in (("way", 1), ("shot", 1), ("num_query", 1), ("num_unlabeled", 0), ("num_distractor", 0)):
            if getattr(self, name) < least:
                raise EpisodeError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if self.dirichlet is not None and self.dirichlet < 1:
            raise EpisodeError(f"dirichlet must be a whole number of 1 or more, not {self.dirichlet}")
        if self.num_distractor and not self.num_unlabeled:
            raise EpisodeError("distractor classes need unlabeled images: set num_unlabeled to 1 or more")

    @property
    def num_queries(self) -> int:
        """Queries of the whole episode."""
        return self.way * self.num_query

    @property
    def most_query(self) -> int:
        """The most queries that a class can have."""
        return self.num_query if self.dirichlet is None else self.num_queries

    @property
    def num_images(self) -> int:
        """Images of the whole episode."""
        return self.way * (self.shot + self.num_query) + (self.way + self.num_distractor) * self.num_unlabeled


@dataclass(frozen=True)
class Unit:
    """What is drawn independently, and so what an interval counts: ``size`` episodes in a row are one of ``name``."""

    name: str = "episodes"
    size: int = 1


EPISODE = Unit()
RUNS = "runs"
"""The word for Lake's 20 runs in a protocol's name, and of --protocol."""
_UNITS = {RUNS: Unit("alphabets", 2)}


def unit_of(published_as: str) -> Unit:
    """The unit of episodes that somebody published; of those that are drawn here (empty) each episode is one."""
    return _UNITS.get(published_as, EPISODE)
