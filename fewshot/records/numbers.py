"""The papers' own numbers, as data: every one with its source and how far it was checked."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from episodes.datasets.cards import benchmarks

COMPARABLE_PIXELS = {name: benchmark.published_as for name, benchmark in benchmarks().items() if benchmark.published_as}
"""Protocols that a published table can be held against -> the data set's name in numbers.csv."""

PERCENT95 = "95 %"
INTERVALS = (PERCENT95, "over 10 label splits", "std over test batches", "std over 10 test epochs", "not known")
"""What stands behind a ±. Only the first is a confidence interval, as far as we could read."""
STATUSES = {"verified": "", "secondary": "read in a later document", "recalled": "recalled, read in no document"}
"""How far a number was checked -> what is said beside it. Verified: read in the document that ``source`` names, or in
material of its authors; secondary: only in a later document that repeats it."""


@dataclass(frozen=True)
class Published:
    """A number that somebody printed. Accuracies are percentages; ``status`` is one of STATUSES.

    ``kind`` is original where the authors of the method measured it, else reimplementation.
    """

    method: str
    variant: str
    backbone: str
    dataset: str
    way: int
    shot: int
    accuracy: float
    plus_minus: float | None  # as printed behind the number; ``interval`` says what it is
    episodes: str  # as printed, such as 600 or 10x600; empty where it is not
    protocol: str
    source: str
    table: str
    kind: str
    status: str
    interval: str = PERCENT95  # one of INTERVALS
    difference: str = ""  # from the record it is held against; empty: verified, the paper's own, of one protocol

    @property
    def ci95(self) -> float | None:
        """Half width of the 95 % interval; None where none is printed, or something else."""
        return self.plus_minus if self.interval == PERCENT95 else None

    @property
    def doubt(self) -> str:
        """What is said of how it was checked; empty where it was read in its own document."""
        return STATUSES[self.status]

    @property
    def printed(self) -> str:
        """``49.42 ± 0.78``, and what the ± is where it is no 95 % interval."""
        if self.plus_minus is None:
            return f"{self.accuracy:.2f}"
        what = "" if self.interval == PERCENT95 else f" [±: {self.interval}]"
        return f"{self.accuracy:.2f} ± {self.plus_minus:.2f}{what}"

    def __str__(self) -> str:
        doubt = self.difference or self.doubt
        beside = f"; not comparable: {doubt}" if doubt else ""
        return f"{self.printed} % ({self.source}, {self.table}, {self.variant}{beside})"


@cache
def published() -> tuple[Published, ...]:
    """Every row of numbers.csv."""
    text = resources.files("fewshot.records").joinpath("published_data", "numbers.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["way"] and row["shot"] and row["accuracy"]]
    stated = [row | {"plus_minus": row["plus_minus"] or None} for row in rows]
    return tuple(msgspec.convert(stated, list[Published], strict=False))


def place_in_papers(dataset_id: str) -> int:
    """For an order in which the papers' own images come first; all others share the last place."""
    return [*COMPARABLE_PIXELS, dataset_id].index(dataset_id)
