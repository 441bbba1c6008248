"""The picture of `fewshot bench --scaling`: a panel for each axis, and one for the memory of scoring."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fewshot.reports.colors import MUTED, SERIES
from fewshot.reports.plots.style import plain

_TITLES = {
    "classes": "classes of the set",
    "images": "images of the set",
    "way": "way (classes of an episode)",
    "shot": "shot (support images per class)",
    "episodes": "episodes drawn",
}
_DRAWING, _GATHERING, _MEMORY = SERIES[:3]


def scaling_figure(content: dict[str, Any]) -> Figure:
    """The points of ``content``, what `fewshot bench --scaling` measured."""
    figure = Figure(
        figsize=(5, 6.6), layout="constrained", label="Cost of an episode along five axes, memory of scoring"
    )
    panels = figure.subplots(3, 2).flatten()
    for axes, (axis, title) in zip(panels, _TITLES.items(), strict=False):
        _draw_axis(axes, [point for point in content["points"] if point["axis"] == axis], title)
        ratio = content["largest_over_smallest"].get(axis)
        axes.set_title(f"dearest / cheapest: {ratio:.2f}" if ratio else "grows with the images", fontsize=8.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _draw_memory(panels[-1], content["scoring"], content["scoring_ceiling_mb"])
    for axes in panels:
        plain(axes)
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
    figure.suptitle("What an episode costs, as the data set and the episode grow", fontsize=10)
    return figure


def _draw_axis(axes: Axes, points: list[dict[str, Any]], title: str) -> None:
    places = [point["value"] for point in points]
    drawing = [point["drawing_us"] for point in points]
    gathering = [point["gathering_us"] for point in points]
    axes.plot(places, drawing, "o-", color=_DRAWING, markersize=4, label="drawing the rows")
    axes.plot(places, gathering, "s-", color=_GATHERING, markersize=4, label="gathering the images")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1k, 10k, 1M
    axes.set_xlabel(title)
    axes.set_ylabel("microseconds an episode")
    if max(drawing + gathering) > 20 * min(drawing + gathering):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.set_ylim(0, 1.25 * max(drawing + gathering))


def _draw_memory(axes: Axes, scoring: list[dict[str, Any]], ceiling: float) -> None:
    names = [f"{line['episodes']:,} of\n{line['way']}-way {line['shot']}-shot" for line in scoring]
    bars = axes.barh(names, [line["added_mb"] for line in scoring], color=_MEMORY, height=0.5)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.axvline(ceiling, color=MUTED, linestyle="--")
    axes.set_xlim(0, 1.1 * ceiling)
    axes.invert_yaxis()
    axes.set_xlabel("MB (dashed: ceiling)")
    axes.set_title("memory added by scoring", fontsize=8.5)
