"""The errors of all models in one picture, colored by how they were trained."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fewshot.reports.colors import INK, MUTED, SERIES
from fewshot.reports.plots.style import plain

_TICKS = (0.1, 0.3, 1, 3, 10, 30, 100)  # errors in percent
_BESIDE_EACH_OTHER = 2
_LETTERS = 34  # of a name, in the room beside the panels
_LINE = 62  # letters of the title


def training_styles_figure(errors: pd.DataFrame, styles: Mapping[str, str], title: str) -> Figure:
    """The error of every row, a panel for each cell, a line of it for each model, best of the first cell on top.

    ``errors`` has the columns ``cell`` (the title of its panel), ``name``, ``style``, ``own_rule`` and ``error`` (in
    percent, positive); ``styles`` describes each style. A dot is a model's own rule, a ring one of the read-outs.
    """
    cells, names = list(dict.fromkeys(errors["cell"])), _best_first(errors)
    colors = dict(zip(styles, (*SERIES[:2], SERIES[3], MUTED), strict=True))
    rows, columns = -(-len(cells) // _BESIDE_EACH_OTHER), min(_BESIDE_EACH_OTHER, len(cells))
    size = (5, 1.6 + rows * (0.45 + 0.16 * len(names)))
    figure = Figure(figsize=size, layout="constrained", label="Errors of all models, by training style")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, cell in zip(panels.flat, cells, strict=False):
        _draw_cell(axes, errors[errors["cell"] == cell], names, colors)
        axes.set_title(cell, fontsize=9)
    for axes in panels.flat[len(cells) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("error in % (logarithmic)", fontsize=8)
    panels[0, 0].invert_yaxis()  # that of all
    marks = [
        Line2D([], [], color=colors[style], marker="o", linestyle="", label=f"{style}: {what}")
        for style, what in styles.items()
        if style in errors["style"].array
    ]
    marks.append(Line2D([], [], color=INK, marker="o", fillstyle="none", linestyle="", label="a read-out"))
    figure.suptitle(textwrap.fill(title, _LINE), fontsize=10)
    figure.legend(handles=marks, loc="outside lower left", frameon=False, fontsize=9, labelspacing=0.3)
    return figure


def _best_first(errors: pd.DataFrame) -> list[str]:
    """The names by their least error in the first cell that has them, the first cell's before others."""
    least = errors.groupby(["cell", "name"], sort=False)["error"].min()
    found = [least[cell].sort_values(kind="stable").index for cell in dict.fromkeys(errors["cell"])]
    return list(dict.fromkeys(name for names in found for name in names))


def _draw_cell(axes: Axes, errors: pd.DataFrame, names: Sequence[str], colors: Mapping[str, str]) -> None:
    for place, name in enumerate(names):
        found = errors[errors["name"] == name]
        if found.empty:
            continue
        color = colors[found["style"].iloc[0]]
        axes.plot([found["error"].min(), found["error"].max()], [place, place], color=color, linewidth=1, alpha=0.5)
        rings, dots = found["error"][~found["own_rule"]], found["error"][found["own_rule"]]
        axes.plot(rings, [place] * len(rings), "o", color=color, markersize=3.5, fillstyle="none", linestyle="")
        axes.plot(dots, [place] * len(dots), "o", color=color, markersize=5, linestyle="")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks(range(len(names)), [textwrap.shorten(name, _LETTERS, placeholder=" …") for name in names])
    axes.tick_params(labelsize=8)
    plain(axes)
