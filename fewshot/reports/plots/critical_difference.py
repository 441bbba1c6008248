"""The critical-difference diagram: methods on a line by mean rank, joined where a test cannot tell them apart."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewshot.reports.colors import INK, MUTED, SERIES
from fewshot.statistics.ranks import RankTable

_BAR = SERIES[1]
_ROW = 0.36  # inches for the name of a method
_HEAD = 0.95  # inches for title and scale of the critical difference


def critical_difference_figure(table: RankTable, title: str) -> Figure:
    """The diagram of Demšar 2006, Figure 1.

    The best mean rank is on the left; bars join the methods closer than Nemenyi's critical difference. The warning of
    the table, where it has one, stands in the picture.
    """
    groups = table.groups()
    num_methods = len(table.methods)
    num_rows = (num_methods + 1) // 2
    warning = textwrap.wrap(table.warning, 105)
    below = 0.25 * len(warning) + 0.15
    height = _HEAD + 0.17 * (len(groups) + 1) + _ROW * (num_rows + 0.3) + below
    figure = Figure(figsize=(9, height), dpi=150)
    axes = figure.add_axes((0.0, below / height, 1.0, 1 - below / height))
    axes.set_axis_off()
    axes.set_xlim(1 - 0.62 * (num_methods - 1), num_methods + 0.62 * (num_methods - 1))
    axes.set_ylim(height - below - _HEAD, -_HEAD)  # inches, downward
    _draw_scale(axes, table, num_methods)
    for level, (first, last) in enumerate(groups):
        places = [table.mean_ranks[table.order[place]] for place in (first, last)]
        y, overhang = 0.17 * (level + 1), 0.012 * num_methods
        axes.plot([places[0] - overhang, places[1] + overhang], [y, y], color=_BAR, lw=4, solid_capstyle="round")
    _draw_methods(axes, table, 0.17 * (len(groups) + 1))
    axes.text(
        (1 + num_methods) / 2, -_HEAD + 0.12, title, ha="center", va="top", fontsize=11, fontweight="bold", color=INK
    )
    for line, text in enumerate(warning):
        figure.text(0.5, (below - 0.22 - 0.22 * line) / height, text, ha="center", fontsize=8.5, color=_BAR)
    return figure


def _draw_scale(axes: Axes, table: RankTable, num_methods: int) -> None:
    axes.plot([1, num_methods], [0, 0], color=INK, lw=1.2)
    for rank in range(1, num_methods + 1):
        axes.plot([rank, rank], [-0.09, 0], color=INK, lw=1.2)
        axes.text(rank, -0.12, str(rank), ha="center", va="bottom", fontsize=9, color=INK)
    width = table.critical_difference
    shown = min(width, num_methods - 1)
    axes.plot([1, 1 + shown], [-0.42, -0.42], color=MUTED, lw=1.2)
    for end in (1, 1 + shown):
        axes.plot([end, end], [-0.46, -0.38], color=MUTED, lw=1.2)
    text = f"critical difference {width:.2f}" + (", off the scale" if width > shown else "")
    axes.text(1 - 0.02 * num_methods, -0.42, text, ha="right", va="center", fontsize=9, color=MUTED)


def _draw_methods(axes: Axes, table: RankTable, start: float) -> None:
    """The better half to the left, the others to the right, the outermost at the top."""
    num_methods, order = len(table.methods), table.order
    left, right = 1 - 0.06 * (num_methods - 1), num_methods + 0.06 * (num_methods - 1)
    half = (num_methods + 1) // 2
    for place, method in enumerate(order):
        rank, on_left = table.mean_ranks[method], place < half
        y = start + _ROW * ((place if on_left else num_methods - 1 - place) + 0.5)
        edge = left if on_left else right
        axes.plot([rank, rank, edge], [0, y, y], color=INK, lw=0.9)
        gap = -0.015 * num_methods if on_left else 0.015 * num_methods
        name = textwrap.shorten(table.methods[method], 32, placeholder="…")
        text = f"{name}  {rank:.2f}" if on_left else f"{rank:.2f}  {name}"
        axes.text(edge + gap, y, text, ha="right" if on_left else "left", va="center", fontsize=10, color=INK)
