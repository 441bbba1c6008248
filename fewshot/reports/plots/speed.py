"""A training step in every library, as bars: a panel for each setting, a color for each kind of processor."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from fewshot.reports.colors import INK, SERIES
from fewshot.reports.plots.style import plain

_THICK = 0.38  # of a bar, where the places of two libraries are 1 apart
_LETTERS = 16  # of a library's name in one line


def step_times_figure(times: pd.DataFrame) -> Figure:
    """A bar for each row of ``times``; libraries and processors come in the order of the rows.

    ``times`` has the columns ``setting`` (the title of its panel), ``library``, ``processor``, ``ms`` and ``words``
    (what stands behind the bar).
    """
    settings, libraries, processors = (
        list(dict.fromkeys(times[column])) for column in ("setting", "library", "processor")
    )
    height = 0.7 + len(settings) * (0.5 + 0.4 * len(libraries))
    figure = Figure(figsize=(5, height), layout="constrained", label="Time of a training step, by library")
    for axes, setting in zip(figure.subplots(len(settings), squeeze=False)[:, 0], settings, strict=True):
        for number, processor in enumerate(processors):
            of = times[(times["setting"] == setting) & (times["processor"] == processor)]
            shift = (number - (len(processors) - 1) / 2) * _THICK
            places = [libraries.index(name) + shift for name in of["library"]]
            axes.barh(places, of["ms"], height=0.9 * _THICK, color=SERIES[number], label=processor)
            for place, length, words in zip(places, of["ms"], of["words"], strict=True):
                axes.annotate(words, (length, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_xlim(0, 1.45 * times.loc[times["setting"] == setting, "ms"].max())  # room for the words
        axes.set_yticks(range(len(libraries)), [textwrap.fill(name, _LETTERS) for name in libraries], fontsize=9)
        axes.invert_yaxis()
        axes.set_title(setting, fontsize=10, loc="left")
        plain(axes)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.tick_params(axis="y", labelcolor=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(processors), frameon=False, fontsize=9)
    return figure
