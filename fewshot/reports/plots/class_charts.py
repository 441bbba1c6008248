"""Charts of classes: which are hard, and which are taken for which. Numbers in, a figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fewshot.reports.colors import ACCENT, GRID, INK, MUTED, PAPER, SERIES
from fewshot.reports.plots.charts import NAMES, WIDTH, Numbers, dots, frame, ridge_chart, rows_of, write
from fewshot.reports.plots.inline_svg import tips

MOST_CLASSES = 30
"""What a chart shows class by class; of more it shows how they are distributed."""
_MOST_IN_MATRIX = 20
_BARS = 50  # of a distribution


def class_chart(names: Sequence[str], accuracies: Numbers, queries: npt.NDArray[Any], title: str) -> Figure:
    """The accuracy of each class, the hardest on top; of more than 30 classes, how their accuracies are distributed.

    What was never drawn (NaN) is left out.
    """
    drawn = np.flatnonzero(~np.isnan(accuracies))
    if len(drawn) > MOST_CLASSES:
        return ridge_chart([("all classes", SERIES[0], accuracies[drawn])], title, _BARS, "accuracy of one class")
    order = drawn[np.argsort(accuracies[drawn], kind="stable")]
    figure, axes = frame(title, 22 * len(order) + 52, left=NAMES, right=54, bottom=44)
    rows_of(axes, [names[number] for number in order], pitch=22)
    axes.set(xlim=(-0.03, 1.03), xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("accuracy of the class", color=MUTED, fontsize=11)
    axes.hlines(np.arange(len(order)), 0, accuracies[order], color=SERIES[0], lw=3, alpha=0.4)
    told = [f"{names[number]}: {100 * accuracies[number]:.1f} % of {queries[number]:,} queries" for number in order]
    dots(axes, np.stack([accuracies[order], np.arange(len(order))], axis=1), told, 46, color=SERIES[0])
    for place, number in enumerate(order):
        text = f"{100 * accuracies[number]:.1f} %"
        write(axes, WIDTH - NAMES - 4, place, text, INK if place else ACCENT, 10, ha="right")
    return figure


def confusion_chart(names: Sequence[str], confusion: npt.NDArray[np.int64], title: str) -> Figure:
    """Rows are true classes, columns what their queries were taken for, in the same order: shares of the row in %.

    Blue is right, orange wrong. Of more than 20 classes those that take part in most mistakes are drawn.
    """
    wrong = confusion - np.diag(confusion.diagonal())
    most = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:_MOST_IN_MATRIX]
    chosen, of_row = np.sort(most), np.maximum(1, confusion.sum(1))
    count = len(chosen)
    side = min(30.0, (WIDTH - NAMES - 4) / count)
    below = WIDTH - NAMES - side * count
    figure, axes = frame(title, side * count + 28, left=NAMES, right=below, top=24, bottom=4)
    axes.grid(False)
    axes.set(xlim=(-0.5, count - 0.5), xticks=[])
    rows_of(axes, [f"{number}. {names[of]}" for number, of in enumerate(chosen, 1)], pitch=side)
    colors, told = [], []
    for row, column in np.ndindex(count, count):
        true, taken = int(chosen[row]), int(chosen[column])
        number = int(confusion[true, taken])
        share = number / of_row[true]
        base = SERIES[0] if row == column else SERIES[1]
        strength = 0.1 + 0.6 * share**0.5 if number else 0.0
        colors.append((*(int(base[at : at + 2], 16) / 255 for at in (1, 3, 5)), strength))
        what = "right" if true == taken else f"taken for {names[taken]}"
        told.append(f"{names[true]}: {number:,} of {of_row[true]:,} queries {what}")
        if number and side >= 14:
            write(axes, side * (column + 0.5), row, _share(share), INK, 8.5 if side > 18 else 7, ha="center")
    edges = np.arange(count + 1) - 0.5
    mesh = axes.pcolormesh(edges, edges, np.zeros((count, count)))
    mesh.set(array=None, facecolor=colors, edgecolor=GRID if side >= 14 else PAPER, linewidth=0.7)
    tips(mesh, told)
    for column in range(count) if side >= 10 else ():
        write(axes, side * (column + 0.5), -0.5 - 10 / side, str(column + 1), MUTED, 9 if side > 14 else 7, ha="center")
    return figure


def _share(share: float) -> str:
    """In whole percent; what is less than one is there, too."""
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"
