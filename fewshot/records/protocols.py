"""Named, versioned evaluation settings. A change that can move a score gets a new version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from episodes.datasets.cards import benchmarks
from episodes.errors import UserError
from episodes.spec import EpisodeSpec

VERSION = 1
"""Raise it with every change that can move a score. Version 1: class-distinct episodes drawn by Philox4x32-10
(episodes.draws), query order shuffled, batch norm in evaluation mode; Omniglot rotated at 105x105 and resized to 28x28
by Lanczos."""


_USUAL_QUERIES = 15  # of a class, in the field's tables
_NAME = re.compile(
    r"(?P<dataset_id>[\w.@+-]+)/(?P<way>[1-9]\d*)w(?P<shot>[1-9]\d*)s/"
    r"(?:q(?P<query>[1-9]\d*)(?:dirichlet(?P<dirichlet>[1-9]\d*))?(?:u(?P<unlabeled>\d+))?(?:d(?P<distractors>\d+))?|(?P<published_as>[a-z]+))@v(?P<version>\d+)"
)


class ProtocolNameError(UserError):
    """A text that is no protocol's name."""


@dataclass(frozen=True, order=True)
class ProtocolName:
    """``omniglot-vinyals-28/5w1s/q15@v1``: the data set id, way and shot, the episodes, the version.

    The data set id is taken whole: data set, split and size may have dashes in them, and a record says which is which.
    """

    dataset_id: str  # Dataset.protocol_name
    way: int
    shot: int
    query: int = 0  # of a class, or in the mean of the classes; 0 where somebody published the episodes
    unlabeled: int = 0  # images of a class
    distractors: int = 0  # classes
    published_as: str = ""
    version: int = VERSION
    dirichlet: int = 0  # concentration of the queries' distribution over classes; 0 where all have the same number

    @classmethod
    @cache
    def parse(cls, name: str) -> ProtocolName:
        """The inverse of ``str``. Raises ProtocolNameError."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ProtocolNameError(f"{name!r} is no protocol's name: it is like omniglot-vinyals-28/5w1s/q15@v1")
        text = {key: found[key] or "" for key in ("dataset_id", "published_as")}
        numbers = {key: int(value or 0) for key, value in found.groupdict().items() if key not in text}
        return cls(**text, **numbers)  # type: ignore[arg-type]  # the pattern's groups are the fields

    @classmethod
    def of(cls, dataset_id: str, spec: EpisodeSpec, published_as: str = "") -> ProtocolName:
        """The name of such episodes as they are today; those that somebody published go by his word for them alone."""
        counts = (0, 0, 0) if published_as else (spec.num_query, spec.num_unlabeled, spec.num_distractor)
        return cls(dataset_id, spec.way, spec.shot, *counts, published_as, dirichlet=spec.dirichlet or 0)

    def __str__(self) -> str:
        return f"{self.dataset_id}/{self.way}w{self.shot}s/{self.episodes}@v{self.version}"

    @property
    def episodes(self) -> str:
        """``q14u5d5``: queries, unlabeled images, distractor classes; ``q15dirichlet2``: unbalanced queries; or what
        published episodes are called."""
        dirichlet = f"dirichlet{self.dirichlet}" if self.dirichlet else ""
        unlabeled = f"u{self.unlabeled}" if self.unlabeled else ""
        distractors = f"d{self.distractors}" if self.distractors else ""
        return self.published_as or f"q{self.query}{dirichlet}{unlabeled}{distractors}"

    @property
    def details(self) -> list[str]:
        """The same in words, without what is usual: ``14 queries a class``, ``5 unlabeled a class``."""
        if self.published_as:
            return ["published episodes"]
        counts = {"unlabeled a class": self.unlabeled, "distractor classes": self.distractors}
        said = [f"{count} {words}" for words, count in counts.items() if count]
        if said or self.dirichlet or self.query != _USUAL_QUERIES:
            said.append(f"{self.query} {'query' if self.query == 1 else 'queries'} a class")
        return said + ([f"unbalanced by Dirichlet({self.dirichlet})"] if self.dirichlet else [])

    @property
    def is_current(self) -> bool:
        """Whether records under this protocol stand beside those that are made today."""
        return self.version == VERSION


def standard_protocols() -> list[ProtocolName]:
    """The cells of the field's tables, as the data sets' cards name them, with 15 queries per class."""
    return [
        ProtocolName(name, way, shot, _USUAL_QUERIES)
        for name, benchmark in sorted(benchmarks().items())
        for way in benchmark.ways
        for shot in benchmark.shots
    ]
