"""Named, versioned evaluation settings. A change that can move a score gets a new version."""

from __future__ import annotations

import re
from dataclasses import dataclass

from episodes.datasets.cards import benchmarks
from episodes.spec import EpisodeSpec

VERSION = 1
"""Raise it with every change that can move a score. Version 1: class-distinct episodes drawn by Philox4x32-10
(episodes.draws), query order shuffled, batch norm in evaluation mode; Omniglot rotated at 105x105 and resized to 28x28
by Lanczos."""


def version_of(protocol: str) -> int:
    """The version in ``omniglot-vinyals-28/5w1s/q15@v1``; 0 where the name has none."""
    found = re.search(r"@v(\d+)$", protocol)
    return int(found[1]) if found else 0


def is_current(protocol: str) -> bool:
    """Whether records under this protocol stand beside those that are made today."""
    return version_of(protocol) == VERSION


@dataclass(frozen=True)
class Protocol:
    """What is measured: which pixels and classes, which episodes, how many."""

    pixels: str  # Dataset.protocol_name, such as omniglot-vinyals-28
    spec: EpisodeSpec
    num_episodes: int
    episode_seed: int
    published_as: str = ""  # episodes that somebody published; empty: drawn here

    @property
    def name(self) -> str:
        """``omniglot-vinyals-28/5w1s/q15@v1``; ``u`` counts unlabeled images, ``d`` distractor classes.

        Lake's runs are ``omniglot-lake-105/20w1s/runs@v1``.
        """
        spec = self.spec
        if self.published_as:
            return f"{self.pixels}/{spec.way}w{spec.shot}s/{self.published_as}@v{VERSION}"
        unlabeled = f"u{spec.num_unlabeled}" if spec.num_unlabeled else ""
        distractors = f"d{spec.num_distractor}" if spec.num_distractor else ""
        return f"{self.pixels}/{spec.way}w{spec.shot}s/q{spec.num_query}{unlabeled}{distractors}@v{VERSION}"


def standard_protocols() -> list[Protocol]:
    """The cells of the field's tables, as the data sets' cards name them, with 15 queries per class."""
    return [
        Protocol(name, EpisodeSpec(way, shot, 15), 10_000, 0)
        for name, benchmark in sorted(benchmarks().items())
        for way in benchmark.ways
        for shot in benchmark.shots
    ]
