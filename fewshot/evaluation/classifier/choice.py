"""Which read-out suits the user's own images: a table, and a line of advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.evaluation.classifier.heads import HEADS
from fewshot.evaluation.result import Evaluation
from fewshot.models.readouts import READOUTS
from fewshot.statistics.intervals import Interval, image_interval
from fewshot.statistics.paired import ranks_with_ties

DEFAULT_READOUT = "logistic"  # of `fewshot fit`


@dataclass(frozen=True)
class ReadoutRow:
    """A read-out on the user's images. ``best`` is said of all that no paired test tells from the best one."""

    readout: str
    interval: Interval  # over images
    best: bool
    transductive: bool  # its answers need all new images at once


def readout_rows(readouts: Sequence[str], evaluations: Sequence[Evaluation]) -> list[ReadoutRow]:
    """A row for each read-out, the best first; tests and intervals are over the images, each counted once."""
    shares = np.stack([evaluation.per_image() for evaluation in evaluations])
    shares = shares[:, ~np.isnan(shares).any(0)]
    ranks = ranks_with_ties([of_images[None] for of_images in shares])
    rows = [
        ReadoutRow(name, image_interval(of_images), rank.best == 1, bool(name) and READOUTS.get(name).transductive)
        for name, of_images, rank in zip(readouts, shares, ranks, strict=True)
    ]
    return sorted(rows, key=lambda row: -row.interval.mean)


def advice(rows: Sequence[ReadoutRow], way: int, dataset: str, encoder: str) -> str:
    """One line: what to do with these images."""
    usable = [row for row in rows if row.readout in HEADS]
    if rows[0].interval.low <= 1 / way:
        return "advice: none is surely better than chance; try another encoder, or more images of each class"
    if not usable:
        return "advice: name logistic, svm, cosine or prototype among the read-outs: `fewshot fit` takes these"
    chosen = next((row for row in usable if row.best and row.readout == DEFAULT_READOUT), usable[0])
    others = [row.readout for row in rows if row.best and row is not chosen]
    alike = f" (no test tells it from {', '.join(name or 'own' for name in others)})" if chosen.best and others else ""
    source = f" --encoder {encoder}" if encoder != "lite0" else ""
    return f"advice: fewshot fit {dataset} -o my.safetensors{source} --readout {chosen.readout}{alike}"
