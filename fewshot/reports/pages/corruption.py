"""Accuracy against the share of corrupted test images (Fort 2017, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from fewshot.records.record import RunRecord
from fewshot.records.rows import Entry, entries_by_cell
from fewshot.reports.names import method_name, protocol_words
from fewshot.reports.pages.base import Content, Page
from fewshot.reports.rendering import Section, render, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """Trainings that differ in their seed alone, tested at several shares."""

    model: str
    trained_share: float
    protocol: str  # of whole images
    points: Mapping[float, Entry]  # by share of corrupted test images


def corruption_curves(records: Iterable[RunRecord]) -> list[Curve]:
    """The trainings on corrupted images, their tests by share; sorted by protocol and name."""
    found: dict[tuple[str, str, float], dict[float, Entry]] = {}
    of_page = [r for r in records if r.trained.corruption and r.recipe != "smoke" and not r.readout]
    for row in (row for rows in entries_by_cell(of_page).values() for row in rows):
        protocol = protocol_words(replace(row.first.protocol_name, dataset_id=row.first.test.clean_id))
        key = (protocol, row.first.model, row.first.trained.corruption)
        found.setdefault(key, {})[row.first.test.corruption] = row
    return [
        Curve(model, share, protocol, dict(sorted(points.items())))
        for (protocol, model, share), points in sorted(found.items())
    ]


def corruption_tables(curves: Sequence[Curve]) -> list[Section]:
    """A table for each protocol: a row per training, a column per share of corrupted test images."""
    sections = []
    for protocol in dict.fromkeys(curve.protocol for curve in curves):
        chosen = [curve for curve in curves if curve.protocol == protocol]
        shares = sorted({share for curve in chosen for share in curve.points})
        rows = [
            {
                "model": curve.model,
                "corrupted in training": f"{100 * curve.trained_share:g} %",
                **{
                    f"{100 * share:g} % corrupted": curve.points[share].interval.percent()
                    if share in curve.points
                    else ""
                    for share in shares
                },
            }
            for curve in chosen
        ]
        table = table_of(rows)
        sections.append(Section(protocol, level=2, table=table, numbers=frozenset(table.columns[1:])))
    return sections


def draw(curves: Sequence[Curve]) -> Figure:
    """The curves, a panel per protocol."""
    from fewshot.reports.plots.corruption import corruption_figure

    points = [
        {
            "protocol": curve.protocol,
            "training": f"{method_name(curve.model)}, trained with {100 * curve.trained_share:g} %",
            "share": 100 * share,
            "accuracy": 100 * row.interval.mean,
            "ci95": 100 * row.interval.half_width,
        }
        for curve in curves
        for share, row in curve.points.items()
    ]
    return corruption_figure(pd.DataFrame(points))


def _render(records: Iterable[RunRecord]) -> dict[str, Content]:
    curves = corruption_curves(records)
    if not curves:
        return {}
    return {
        "damage.md": render("corruption.md", sections=corruption_tables(curves)),
        "damage.svg": lambda: draw(curves),
    }


PAGE = Page("corruption", _render)
