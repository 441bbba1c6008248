"""Accuracy against the share of corrupted test images, as curves."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fewshot.reports.colors import SERIES
from fewshot.reports.plots.style import plain

_MARKERS = "osD^v"


def corruption_figure(points: pd.DataFrame) -> Figure:
    """A panel for each protocol, a curve for each training, 95 % intervals over episodes as bars.

    ``points`` has the columns ``protocol``, ``training`` (the name of its curve), ``share``, ``accuracy`` and ``ci95``,
    the last three in percent.
    """
    protocols = list(dict.fromkeys(points["protocol"]))
    size = (5, 0.3 + 3 * len(protocols))
    figure = Figure(figsize=size, layout="constrained", label="Accuracy by the share of corrupted test images")
    for axes, protocol in zip(figure.subplots(len(protocols), squeeze=False)[:, 0], protocols, strict=True):
        chosen = points[points["protocol"] == protocol]
        curves = chosen.groupby("training", sort=False)
        for (label, curve), color, marker in zip(curves, cycle(SERIES), cycle(_MARKERS), strict=False):
            values = (curve[name].to_numpy() for name in ("share", "accuracy", "ci95"))
            axes.errorbar(*values, color=color, marker=marker, markersize=5, capsize=3, label=str(label))
        most = chosen[chosen["share"] == chosen["share"].max()].sort_values("accuracy").iloc[-1]
        axes.set_title(f"{protocol}\nahead at {most['share']:g} %: {most['training']}", fontsize=9)
        axes.set_xlabel("corrupted test images", fontsize=9)
        axes.set_ylabel("accuracy (%)", fontsize=9)
        axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
        plain(axes)
        axes.legend(frameon=False, fontsize=9, loc="lower left")  # where no curve is: they fall
    figure.suptitle("What corrupted images cost: accuracy by their share in the test", fontsize=10)
    return figure
