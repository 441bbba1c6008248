"""The picture of `fewshot bench --scaling`: a panel for each axis, and one for the memory of scoring."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    figure = Figure(figsize=(12, 6.6), dpi=110, layout="constrained")
    panels = figure.subplots(2, 3).flatten()
    for axes, (axis, title) in zip(panels, _TITLES.items(), strict=False):
        _draw_axis(axes, [point for point in content["points"] if point["axis"] == axis], title)
        ratio = content["largest_over_smallest"].get(axis)
        axes.set_title(
            f"dearest point {ratio:.2f} times the cheapest" if ratio else "grows with the images drawn", fontsize=10
        )
    panels[0].legend(frameon=False, fontsize=9)
    _draw_memory(panels[-1], content["scoring"], content["scoring_ceiling_mb"])
    for axes in panels:
        plain(axes)
    figure.suptitle("What an episode costs, as the data set and the episode grow", fontsize=11)
    return figure


def _draw_axis(axes: Axes, points: list[dict[str, Any]], title: str) -> None:
    places = [point["value"] for point in points]
    drawing = [point["drawing_us"] for point in points]
    gathering = [point["gathering_us"] for point in points]
    axes.plot(places, drawing, "o-", color=_DRAWING, markersize=5, label="drawing the rows")
    axes.plot(places, gathering, "s-", color=_GATHERING, markersize=5, label="gathering the images")
    axes.set_xscale("log")
    axes.set_xlabel(title)
    axes.set_ylabel("microseconds an episode")
    if max(drawing + gathering) > 20 * min(drawing + gathering):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.25 * max(drawing + gathering))


def _draw_memory(axes: Axes, scoring: list[dict[str, Any]], ceiling: float) -> None:
    names = [f"{line['episodes']:,} episodes\n{line['way']}-way {line['shot']}-shot" for line in scoring]
    axes.barh(names, [line["added_mb"] for line in scoring], color=_MEMORY, height=0.5)
    axes.axvline(ceiling, color=MUTED, linestyle="--")
    axes.set_xlim(0, 1.1 * ceiling)
    axes.invert_yaxis()
    axes.set_xlabel(f"added MB (dashed: ceiling, {ceiling:,})")
    axes.set_title("memory of scoring", fontsize=10)
