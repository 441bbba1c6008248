"""The errors of all models in one picture, colored by how they were trained."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fewshot.reports.colors import INK, MUTED, SERIES
from fewshot.reports.plots.style import plain

_TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50)  # errors in percent


def training_styles_figure(errors: pd.DataFrame, styles: Mapping[str, str], title: str) -> Figure:
    """The error of every row, a panel for each cell, a line of it for each model, best on top.

    ``errors`` has the columns ``cell`` (the title of its panel), ``name``, ``style``, ``own_rule`` and ``error`` (in
    percent, positive); ``styles`` describes each style. A dot is a model's own rule, a ring one of the read-outs.
    """
    cells = list(dict.fromkeys(errors["cell"]))
    most = int(errors.groupby("cell")["name"].nunique().max())
    colors = dict(zip(styles, (*SERIES[:2], SERIES[3], MUTED), strict=True))
    figure = Figure(figsize=(11, 1.6 + 0.44 * most), dpi=120, layout="constrained")
    for axes, cell in zip(figure.subplots(2, -(-len(cells) // 2), squeeze=False).flat, cells, strict=False):
        _draw_cell(axes, errors[errors["cell"] == cell], colors)
        axes.set_title(cell, fontsize=10)
    marks = [
        Line2D([], [], color=colors[style], marker="o", linestyle="", label=f"{style}: {what}")
        for style, what in styles.items()
    ]
    marks.append(Line2D([], [], color=INK, marker="o", fillstyle="none", linestyle="", label="a read-out"))
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_cell(axes: Axes, errors: pd.DataFrame, colors: Mapping[str, str]) -> None:
    names = errors.groupby("name", sort=False)["error"].min().sort_values(kind="stable").index
    for place, name in enumerate(names):
        found = errors[errors["name"] == name]
        color = colors[found["style"].iloc[0]]
        axes.plot([found["error"].min(), found["error"].max()], [place, place], color=color, linewidth=1, alpha=0.5)
        rings, dots = found["error"][~found["own_rule"]], found["error"][found["own_rule"]]
        axes.plot(rings, [place] * len(rings), "o", color=color, markersize=4.5, fillstyle="none", linestyle="")
        axes.plot(dots, [place] * len(dots), "o", color=color, markersize=6, linestyle="")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlabel("error (logarithmic)", fontsize=9)
    axes.set_yticks(range(len(names)), list(names), fontsize=8)
    axes.invert_yaxis()
    plain(axes)
