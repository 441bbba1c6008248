"""The papers' own numbers, as data: every one with its source and how far it was checked."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from episodes.datasets.cards import benchmarks

COMPARABLE_PIXELS = {name: benchmark.published_as for name, benchmark in benchmarks().items() if benchmark.published_as}
"""Protocols that a published table can be held against -> the data set's name in published.csv."""


@dataclass(frozen=True)
class Published:
    """A number that somebody printed. Accuracies are percentages; ``status`` recalled means: not read in a document."""

    method: str
    variant: str
    backbone: str
    dataset: str
    way: int
    shot: int
    accuracy: float
    ci95: float | None
    episodes: str  # as printed, such as 600 or 10x600; empty where it is not
    protocol: str
    source: str
    table: str
    kind: str
    status: str

    def __str__(self) -> str:
        interval = f" ± {self.ci95:.2f}" if self.ci95 is not None else ""
        doubt = "" if self.status == "verified" else ", from memory"
        return f"{self.accuracy:.2f}{interval} % ({self.source}, {self.table}, {self.variant}{doubt})"


@cache
def published() -> tuple[Published, ...]:
    """Every row of published.csv."""
    text = resources.files("fewshot.records").joinpath("published_data", "numbers.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            **{name: row[name] for name in ("method", "variant", "backbone", "dataset", "protocol", "source")},
            **{name: row[name] for name in ("episodes", "table", "kind", "status")},
            way=int(row["way"]),
            shot=int(row["shot"]),
            accuracy=float(row["accuracy"]),
            ci95=float(row["ci95"]) if row["ci95"] else None,
        )
        for row in csv.DictReader(text.splitlines())
        if row["way"] and row["shot"] and row["accuracy"]
    )
