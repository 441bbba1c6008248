"""Charts of the report: numbers in, a figure out. None knows what a record is."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from fewshot.reports.colors import GRID, INK, MUTED, PAPER, SERIES
from fewshot.reports.plots.inline_svg import tips
from fewshot.reports.plots.style import Drawing

Numbers = npt.NDArray[np.float64]

WIDTH = 420.0  # pixels: readable on a telephone, and two stand side by side on a wide screen
_LETTER = 0.6  # of the size of the type: how wide a letter is, on average
NAMES = 170.0  # pixels for the names of rows or lines
_LEAST_ERROR = 2e-4
_TIMES = (1, 3, 10, 30, *(60 * m for m in (1, 2, 5, 10, 20, 30)), *(3600 * h for h in (1, 2, 5, 10, 20, 50, 100)))
_ERROR_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8))


@dataclass(frozen=True)
class Line:
    """A named line of points."""

    name: str
    points: tuple[tuple[float, float], ...]
    color: str
    tip: str
    ring: int  # the point that a ring marks


@dataclass(frozen=True)
class Estimate:
    """A row of the chart of intervals: an accuracy of ours, and the published one beside it."""

    name: str
    mean: float
    half_width: float
    color: str
    tip: str
    published: float | None = None
    published_tip: str = ""


@dataclass(frozen=True)
class Mark:
    """A point of a scatter plot; those on the ``front`` are joined and named."""

    name: str
    x: float
    y: float
    color: str
    tip: str
    diamond: bool = False
    front: bool = False


def duration(seconds: float) -> str:
    """``0.2 s``, ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 9.5:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f}".removesuffix(".0") + " h"


def signed(points: float, digits: int = 2) -> str:
    """``+0.31`` or ``−0.31``, with a minus as long as the plus."""
    return f"{points:+.{digits}f}".replace("-", "−")


def cut(name: str, width: float, size: float = 11) -> str:
    """The name, shortened in its middle to fit into ``width`` pixels."""
    letters = max(3, int(width / (_LETTER * size)))
    return name if len(name) <= letters else f"{name[: (letters - 1) // 2]}…{name[len(name) - letters // 2 :]}"


def fitted(name: str, width: float, height: float, size: float = 10) -> tuple[str, float]:
    """The name and the size of its type, for so many pixels: broken between words, then smaller, cut only at last."""
    for lines, smaller in ((1, size), (2, size), (2, 0.9 * size), (3, 0.85 * size), (3, 0.8 * size)):
        whole = textwrap.wrap(name, max(3, int(width / (_LETTER * smaller))), break_on_hyphens=False) or [""]
        if len(whole) <= lines and lines * smaller <= height:
            return "\n".join(whole), smaller
    if height < 2 * size:
        return cut(name, width, size), size
    first, *rest = textwrap.wrap(name, max(3, int(width / (_LETTER * size))), break_on_hyphens=False)
    return f"{first}\n{cut(' '.join(rest), width, size)}", size


def interval_chart(rows: Sequence[Estimate], title: str) -> Figure:
    """Accuracies with their intervals, best first; published numbers as open diamonds."""
    figure, axes = frame(title, 30 * len(rows) + 38, left=NAMES, right=92, bottom=30)
    rows_of(axes, [row.name for row in rows])
    _accuracy_axis(axes, "x", [value for row in rows for value in (row.mean, row.published) if value is not None], 3)
    low, high = axes.get_xlim()
    places, means = np.arange(len(rows)), np.array([row.mean for row in rows])
    halves, colors = np.array([row.half_width for row in rows]), [row.color for row in rows]
    printed = [(place, row) for place, row in enumerate(rows) if row.published is not None]
    for place, row in printed:
        axes.plot([row.mean, row.published or 0.0], [place, place], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    open_diamond = {"marker": "D", "color": PAPER, "edgecolors": MUTED, "linewidths": 1.5}
    dots(
        axes,
        [(row.published or 0.0, y) for y, row in printed],
        [row.published_tip for _, row in printed],
        30,
        **open_diamond,
    )
    axes.hlines(places, np.clip(means - halves, low, high), np.clip(means + halves, low, high), colors, lw=4, alpha=0.4)
    dots(axes, np.stack([means, places], axis=1), [row.tip for row in rows], 60, color=colors)
    for place, row in enumerate(rows):
        number = f"{100 * row.mean:.2f} ± {100 * row.half_width:.2f}"
        write(axes, _across(axes) + 90, place, number, size=10.5, ha="right", weight="normal" if place else "bold")
    return figure


def dumbbell_chart(rows: Sequence[tuple[str, str, Sequence[tuple[float, str]]]], title: str) -> Figure:
    """Accuracies of one method in a row (name, color, accuracies with tips): the first open, the others filled."""
    figure, axes = frame(title, 30 * len(rows) + 38, left=NAMES, right=16, bottom=30)
    rows_of(axes, [name for name, *_ in rows])
    _accuracy_axis(axes, "x", [accuracy for *_, points in rows for accuracy, _ in points], 5)
    for place, (_, color, points) in enumerate(rows):
        ends = [accuracy for accuracy, _ in points]
        axes.plot([min(ends), max(ends)], [place, place], color=color, linewidth=1.5, alpha=0.5)
        for number, (accuracy, tip) in enumerate(points):
            look = {"color": color} if number else {"color": PAPER, "edgecolors": color, "linewidths": 2}
            dots(axes, [(accuracy, place)], [tip], 60, **look)
    return figure


def line_chart(lines: Sequence[Line], title: str, x_label: str, y_values: Sequence[float]) -> Figure:
    """Accuracies against something positive, on a logarithmic axis; a name at the end of every line.

    ``y_values`` are those that the axis must hold; what lies below them is drawn at the edge.
    """
    names = _room_for([line.name for line in lines])
    figure, axes = frame(title, 290, left=48, right=names, top=18)
    axes.set_xlabel(x_label, color=MUTED, fontsize=11)
    _positive_axis(axes, [x for line in lines for x, _ in line.points])
    _accuracy_axis(axes, "y", y_values)
    lowest = axes.get_ylim()[0]
    for line in lines:
        x, y = np.array(line.points).T
        points = np.stack([x, np.maximum(y, lowest)], axis=1)
        (drawn,) = axes.plot(*points.T, color=line.color, linewidth=2)
        tips(drawn, [line.tip])
        look = {"color": PAPER, "edgecolors": line.color, "linewidths": 2}
        dots(axes, points[[line.ring]], [line.tip], 48, **look)
    _name_ends(axes, [(*line.points[-1], line.name, line.color) for line in lines], names - 16)
    return figure


def scatter_chart(marks: Sequence[Mark], title: str) -> Figure:
    """Accuracy against seconds of training; nobody is both cheaper and better than a mark of the front."""
    front = sorted((mark.x, mark.y, mark.name, mark.color) for mark in marks if mark.front)
    names = _room_for([name for *_, name, _ in front])
    figure, axes = frame(title, 300, left=48, right=names, top=18)
    axes.set_xlabel("time of one training", color=MUTED, fontsize=11)
    _positive_axis(axes, [mark.x for mark in marks], "time")
    _accuracy_axis(axes, "y", [mark.y for mark in marks])
    axes.plot([x for x, *_ in front], [y for _, y, *_ in front], color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
    for diamond, shape in ((False, "o"), (True, "D")):
        kind = [mark for mark in marks if mark.diamond == diamond]
        look = {"marker": shape, "color": [mark.color for mark in kind]}
        dots(axes, [(mark.x, mark.y) for mark in kind], [mark.tip for mark in kind], 46, **look)
    _name_ends(axes, front, names - 16)
    return figure


def ridge_chart(rows: Sequence[tuple[str, str, Numbers]], title: str, queries: int, x_label: str) -> Figure:
    """How accuracies are distributed: a histogram for each row (name, color, accuracies), its mean and worst tenth.

    An accuracy over ``queries`` has that many values and one more: no bar is made of more of them than another.
    """
    figure, axes = frame(title, 38 * len(rows) + 56, left=NAMES, right=16, top=0)
    low = max(0.0, min(0.9, float(min(np.percentile(values, 0.2) for *_, values in rows))))
    wide = max(1, round((1 - low) * queries / 40)) / queries  # of a bar
    edges = 1 + 0.5 / queries - wide * np.arange(int((1 - low) / wide) + 2)[::-1]
    rows_of(axes, [name for name, *_ in rows], above=1.0)
    axes.set_xlim(max(0.0, edges[0]), edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(percent))
    axes.set_xlabel(x_label, color=MUTED, fontsize=11)
    for place, (name, color, values) in enumerate(rows):
        counts = np.histogram(np.clip(values, edges[0], 1.0), edges)[0]
        heights = place - 0.85 * np.sqrt(counts / max(1, counts.max()))
        x, y = np.repeat(np.maximum(edges, axes.get_xlim()[0]), 2), np.r_[place, np.repeat(heights, 2), place]
        mean, worst = float(values.mean()), float(np.sort(values)[: -(-len(values) // 10)].mean())
        hill = axes.fill_between(x, y, place, color=color, alpha=0.5, linewidth=0)
        tips(hill, [f"{name}: mean {100 * mean:.2f} %, the worst tenth {100 * worst:.2f} %"])
        axes.plot([mean, mean], [place, place - 0.85], color=INK, linewidth=1.5)
        look = {"marker": "D", "color": PAPER, "edgecolors": INK, "linewidths": 1.5}
        dots(axes, [(max(worst, axes.get_xlim()[0]), place)], [], 26, **look)
    return figure


def heat_map(names: Sequence[str], differences: Numbers, p: Numbers, title: str) -> Figure:
    """Row minus column, in percentage points: blue where the row is better; a dot where the test does not tell."""
    figure, axes, side = matrix(names, title, 36)
    extent, shown, told = max(1e-9, float(np.abs(differences).max())), [], []
    for row, column in np.ndindex(differences.shape):
        difference, clear = float(differences[row, column]), bool(p[row, column] < 0.05)
        strength = 0.12 + 0.55 * min(1.0, abs(difference) / extent) ** 0.5 if clear else 0.06
        color = GRID if row == column else SERIES[0] if difference > 0 else SERIES[1]
        shown.append(to_rgba(color, 1 if row == column else strength))
        chance = "p < 0.001" if p[row, column] < 0.001 else f"p = {p[row, column]:.3f}"
        told.append(f"{names[row]} minus {names[column]}: {signed(100 * difference)} points, {chance} (Holm)")
        if row == column:
            told[-1] = names[row]
            continue
        text = f"{100 * abs(difference):.{1 if extent > 0.095 else 2}f}".removeprefix("0") if clear else "·"
        write(axes, side * (column + 0.5), row, text, INK if clear else MUTED, 10 if side > 28 else 8.5, ha="center")
    cells(axes, side, told, 10, facecolor=shown, edgecolor=PAPER, linewidth=1.5)
    return figure


def matrix(names: Sequence[str], title: str, most: float) -> tuple[Figure, Axes, float]:
    """A square with a numbered row for each name, and the side of a cell in pixels, ``most`` where there is room."""
    count = len(names)
    side = min(most, (WIDTH - NAMES - 4) / count)
    figure, axes = frame(title, side * count + 28, left=NAMES, right=WIDTH - NAMES - side * count, top=24, bottom=4)
    axes.grid(False)
    axes.set(xlim=(-0.5, count - 0.5), xticks=[])
    rows_of(axes, [f"{number}. {name}" for number, name in enumerate(names, 1)], pitch=side)
    return figure, axes, side


def cells(axes: Axes, side: float, texts: Sequence[str], size: float, **look: Any) -> None:
    """The cells, row by row, each with its tooltip; above them the numbers of the columns, in type of this ``size``."""
    count = math.isqrt(len(texts))
    edges = np.arange(count + 1) - 0.5
    mesh = axes.pcolormesh(edges, edges, np.zeros((count, count)))
    mesh.set(array=None, **look)
    tips(mesh, texts)
    for column in range(count) if side >= 10 else ():
        write(axes, side * (column + 0.5), -0.5 - 10 / side, str(column + 1), MUTED, size, ha="center")


def calibration_chart(bins: Sequence[tuple[float, float, int]], title: str) -> Figure:
    """A reliability diagram: (mean confidence, accuracy, queries) of each bin; on the diagonal both agree."""
    figure, axes = frame(title, 300, left=62, right=20)
    confidence, accuracy, queries = (np.array(values) for values in zip(*bins, strict=True))
    low = float(min(confidence.min(), accuracy.min())) - 0.04
    axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.vlines(confidence, confidence, accuracy, color=SERIES[1], linewidth=2.5, alpha=0.6)
    told = [f"confidence {100 * c:.1f} %, right {100 * a:.1f} % of {n:,} queries" for c, a, n in bins]
    sizes = 20 + 130 * np.sqrt(queries / queries.max())
    dots(axes, np.stack([confidence, accuracy], axis=1), told, sizes, color=SERIES[0])
    for axis, label in ((axes.xaxis, "confidence of the prediction"), (axes.yaxis, "accuracy")):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(percent))
        axis.set_label_text(label, color=MUTED, fontsize=11)
    axes.set(xlim=(low, 1.03), ylim=(low, 1.03))
    return figure


def dots(axes: Axes, points: npt.ArrayLike, texts: Sequence[str], size: float | Numbers, **look: Any) -> None:
    """A mark at each point, (points, 2), with its tooltip; ``size`` in square pixels."""
    places = np.asarray(points, np.float64).reshape(-1, 2)
    tips(axes.scatter(places[:, 0], places[:, 1], size, **({"linewidths": 0, "zorder": 3} | look)), texts)


def frame(
    title: str, height: float, *, left: float, right: float, top: float = 8, bottom: float = 44
) -> tuple[Figure, Axes]:
    """A figure with one plot; the margins are in pixels, what lies around the plot is written by the charts."""
    figure = Drawing((WIDTH / 72, height / 72), dpi=72, frameon=False)
    figure.set_label(title)
    place = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    axes = figure.add_axes(place, frameon=False)
    axes.tick_params(length=0, labelsize=10, labelcolor=MUTED, pad=5)
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def _across(axes: Axes) -> float:
    """Width of the plot in pixels."""
    return WIDTH * float(axes.get_position().width)


def write(axes: Axes, x: float, y: float, text: str, color: str = INK, size: float = 11, **look: Any) -> None:
    """A text; ``x`` in pixels from the left edge of the plot, ``y`` in the plot's own numbers."""
    fixed: dict[str, Any] = {"va": "center", "parse_math": False, "transform": axes.get_yaxis_transform()}
    axes.text(x / _across(axes), y, text, color=color, fontsize=size, **fixed, **look)


def rows_of(axes: Axes, names: Sequence[str], above: float = 0.5, pitch: float = 30) -> None:
    """A named line of the plot for each name, from the top, ``pitch`` pixels each; ``above`` of it above its middle."""
    axes.set_ylim(len(names) - 0.9 if above == 1 else len(names) - 0.5, -above)
    axes.set_yticks([])
    size = min(10.0, 0.8 * pitch)
    for place, name in enumerate(names):
        text, fitting = fitted(name, NAMES - 8, pitch, size)
        write(axes, -8, place - (above - 0.5) * 0.6, text, size=fitting, ha="right", linespacing=1.1)


def _room_for(names: Sequence[str]) -> float:
    """Pixels right of a plot for the longest of these names, as far as there are."""
    return min(NAMES, max((len(name) for name in names), default=0) * _LETTER * 11 + 20)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], width: float) -> None:
    """Names right of the plot, level with their points (x, y, name, color) as far as they do not overlap."""
    to_pixels, right = axes.transData, axes.get_xlim()[1]
    levels = [float(to_pixels.transform((x, y))[1]) for x, y, *_ in ends]
    low, high = (float(to_pixels.transform((right, y))[1]) for y in axes.get_ylim())
    for (x, y, name, color), level in zip(ends, _apart(levels, 25, low, high), strict=True):
        beside = float(to_pixels.inverted().transform((0, level))[1])
        edge = float(to_pixels.inverted().transform((to_pixels.transform((right, y))[0] + 12, level))[0])
        axes.plot([x, edge], [y, beside], color=color, linewidth=0.8, alpha=0.6, clip_on=False)
        text, size = fitted(name, width, 25)
        write(axes, _across(axes) + 15, beside, text, size=size, linespacing=1)


def _apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved until neighbors are ``gap`` away from each other, inside low to high where that fits."""
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, np.float64)[order]
    for _ in range(60):
        for index in range(1, len(moved)):
            missing = max(0.0, gap - (moved[index] - moved[index - 1]))
            moved[index - 1 : index + 1] += (-missing / 2, missing / 2)
        moved += max(0.0, low - moved[0]) if len(moved) else 0.0
        moved -= max(0.0, moved[-1] - high) if len(moved) else 0.0
    return [float(moved[place]) for place in np.argsort(order)]


def _positive_axis(axes: Axes, values: Sequence[float], kind: Literal["number", "time"] = "number") -> None:
    """A logarithmic axis with some air and few round ticks."""
    low, high = min(values) / 1.25, max(values) * 1.25
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    choices = [[step * 10.0**power for power in powers for step in steps] for steps in ((1, 2, 5), (1, 3), (1,))]
    found = [[tick for tick in ticks if low <= tick <= high] for ticks in ([_TIMES] if kind == "time" else choices)]
    ticks = next((inside for inside in found if len(inside) <= 5), found[-1]) or [min(values)]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: -(-len(ticks) // 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    written = duration if kind == "time" else "{:,.6g}".format
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(float(value))))


def _errors(accuracies: Numbers) -> Numbers:
    return np.asarray(-np.log10(np.maximum(1 - np.asarray(accuracies), _LEAST_ERROR / 2)))


def _accuracy_axis(axes: Axes, which: Literal["x", "y"], values: Sequence[float], most: int = 6) -> None:
    """An axis that holds these accuracies with some air: where one exceeds 90 %, halving the errors is one step."""
    axis, low, high = getattr(axes, f"{which}axis"), min(values), max(values)
    axis.set_major_formatter(FuncFormatter(percent))
    if high <= 0.9:
        air = max(0.01, 0.06 * (high - low))
        axes.set(**{f"{which}lim": (max(0.0, low - air), min(1.0, high + air))})
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
        return
    low, high = 1 - min(1.0, 1.25 * (1 - low) + 1e-3), 1 - max(_LEAST_ERROR, 0.75 * (1 - high))
    getattr(axes, f"set_{which}scale")("function", functions=(_errors, lambda bent: 1 - 10.0**-bent))
    axes.set(**{f"{which}lim": (low, high)})
    axis.set_major_locator(FixedLocator(_accuracy_ticks(low, high, most)))
    axis.set_major_formatter(FuncFormatter(percent))
    axis.set_minor_locator(NullLocator())


def _accuracy_ticks(low: float, high: float, most: int) -> list[float]:
    """Accuracies whose errors are round and that lie apart; coarse steps, finer ones where fewer than four fit."""
    inside: list[float] = []
    for steps in _ERROR_STEPS:
        errors = (step * 10.0**power for power in range(-1, -6, -1) for step in reversed(steps))
        inside = [round(1 - error, 9) for error in errors if low <= 1 - error <= high]
        if len(inside) >= 4:
            break
    gap = float(_errors(np.array(high)) - _errors(np.array(low))) / (most + 1)
    kept: list[float] = []
    for tick in reversed(inside):
        if not kept or float(_errors(np.array(kept[-1])) - _errors(np.array(tick))) >= gap:
            kept.append(tick)
    return kept[::-1]


def percent(accuracy: float, _: int = 0) -> str:
    """``99.5 %``: two decimals at the most."""
    return f"{100 * accuracy:.2f}".rstrip("0").rstrip(".") + " %"
