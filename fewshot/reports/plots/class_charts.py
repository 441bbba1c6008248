"""Charts of classes: which are hard, and which are taken for which. Numbers in, a figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from fewshot.reports.colors import ACCENT, GRID, INK, MUTED, PAPER, SERIES
from fewshot.reports.plots.charts import NAMES, WIDTH, Numbers, cells, dots, frame, matrix, ridge_chart, rows_of, write

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
    figure, axes, side = matrix([names[of] for of in chosen], title, 30)
    colors, told = [], []
    for row, column in np.ndindex(len(chosen), len(chosen)):
        true, taken = int(chosen[row]), int(chosen[column])
        number = int(confusion[true, taken])
        share = number / of_row[true]
        strength = 0.1 + 0.6 * share**0.5 if number else 0.0
        colors.append(to_rgba(SERIES[0] if row == column else SERIES[1], strength))
        what = "right" if true == taken else f"taken for {names[taken]}"
        told.append(f"{names[true]}: {number:,} of {of_row[true]:,} queries {what}")
        if number and side >= 14:
            write(axes, side * (column + 0.5), row, _share(share), INK, 8.5 if side > 18 else 7, ha="center")
    look = {"facecolor": colors, "edgecolor": GRID if side >= 14 else PAPER, "linewidth": 0.7}
    cells(axes, side, told, 9 if side > 14 else 7, **look)
    return figure


def _share(share: float) -> str:
    """In whole percent; what is less than one is there, too."""
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"
