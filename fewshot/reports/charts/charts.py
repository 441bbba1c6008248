"""Charts of the report: numbers in, a canvas out. None knows what a record is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewshot.reports.charts.canvas import Area, Box, Canvas, Dot, Line, Point, Text
from fewshot.reports.charts.scales import Scale, accuracy_scale, duration, log_scale, percent, signed

SERIES = ("#2a7fc1", "#d5600f", "#12946f", "#a660bd", "#a8760f", "#c94f7c", "#5f7f1f", "#6d74d6", "#2b93a3", "#8a6d5a")
"""Told from each other, and from white and from near-black alike (contrast 3:1 or more)."""
WIDTH = 560.0
_LETTER = 6.9  # pixels that a letter of 12 pixels takes, on average


@dataclass(frozen=True)
class Series:
    """A named line; without ``color`` it stands in gray behind the others."""

    name: str
    points: tuple[Point, ...]
    color: str = ""
    half_widths: tuple[float, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A row of the chart of intervals: ours, and the paper's beside it."""

    name: str
    mean: float
    half_width: float
    color: str
    published: float | None = None
    published_half_width: float | None = None
    tip: str = ""
    published_tip: str = ""


@dataclass(frozen=True)
class Mark:
    """A point of a scatter plot."""

    name: str
    x: float
    y: float
    color: str
    square: bool = False
    front: bool = False
    tip: str = ""


def cut(name: str, width: float, size: float = 12) -> str:
    """The name, shortened in its middle to fit into ``width`` pixels."""
    letters = max(3, int(width / (_LETTER * size / 12)))
    return name if len(name) <= letters else f"{name[: (letters - 1) // 2]}…{name[len(name) - letters // 2 :]}"


def _spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved apart until neighbors are ``gap`` away from each other, inside low to high where that fits."""
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, np.float64)[order]
    for _ in range(60):
        for index in range(1, len(moved)):
            missing = gap - (moved[index] - moved[index - 1])
            if missing > 0:
                moved[index - 1] -= missing / 2
                moved[index] += missing / 2
        moved += max(0.0, low - moved[0])
        moved -= max(0.0, moved[-1] - high)
    result = np.empty_like(moved)
    result[order] = moved
    return [float(place) for place in result]


def _axes(canvas: Canvas, x: Scale, y: Scale, x_label: str, y_label: str, x_text: Callable[[float], str]) -> None:
    """Grid, ticks and names of both axes; accuracies upward."""
    for tick in y.ticks():
        canvas.add(Line(((x.start, y(tick)), (x.end, y(tick))), "grid"))
        canvas.add(Text(x.start - 8, y(tick) + 4, percent(tick), "muted", 11, "end"))
    for tick in x.ticks():
        canvas.add(Line(((x(tick), y.start), (x(tick), y.start + 4)), "muted"))
        canvas.add(Text(x(tick), y.start + 18, x_text(tick), "muted", 11, "middle"))
    canvas.add(Line(((x.start, y.start), (x.end, y.start)), "muted"))
    canvas.add(Text((x.start + x.end) / 2, y.start + 38, x_label, "muted", 12, "middle"))
    canvas.add(Text(12, (y.start + y.end) / 2, y_label, "muted", 12, "middle", turned=True))


def line_chart(series: Sequence[Series], title: str, x_label: str, height: float = 340) -> Canvas:
    """Accuracies against something positive, on a logarithmic axis; a name at the end of every colored line."""
    canvas = Canvas(WIDTH, height, title)
    colored = [line for line in series if line.color]
    names_width = min(170.0, max((len(line.name) for line in colored), default=0) * _LETTER + 16)
    everything = [point for line in series for point in line.points]
    x = log_scale([px for px, _ in everything], 70, WIDTH - names_width - 8)
    y = accuracy_scale([py for _, py in everything], height - 48, 14)
    _axes(canvas, x, y, x_label, "accuracy", lambda value: f"{value:g}")
    for line in sorted(series, key=lambda line: bool(line.color)):
        places = tuple((x(px), y(py)) for px, py in line.points)
        canvas.add(Line(places, line.color or "muted", 2.2 if line.color else 1, opacity=1 if line.color else 0.35))
        if not line.color:
            continue
        for place, (px, py), half in zip(places, line.points, line.half_widths or [0.0] * len(places), strict=True):
            tip = f"{line.name}, {x_label} {px:g}: {100 * py:.2f} ± {100 * half:.2f} %"
            canvas.add(Dot(*place, 4, line.color, tip=tip))
    ends = [(x(line.points[-1][0]), y(line.points[-1][1])) for line in colored]
    for line, end, down in zip(colored, ends, _spread([end[1] for end in ends], 15, 18, y.start - 2), strict=True):
        right = x.end + 14
        canvas.add(Line(((end[0] + 5, end[1]), (right - 3, down)), line.color, 0.8, opacity=0.6))
        canvas.add(Text(right, down + 4, cut(line.name, names_width - 16), "ink", 12))
    return canvas


def interval_chart(rows: Sequence[Estimate], title: str) -> Canvas:
    """Accuracies with their intervals, best first; the paper's number as an open diamond."""
    names = min(210.0, max(len(row.name) for row in rows) * _LETTER + 14)
    canvas = Canvas(WIDTH, 26.0 * len(rows) + 46, title)
    values = [value for row in rows for value in (row.mean, row.published) if value is not None]
    x = accuracy_scale(values, names + 8, WIDTH - 100)
    bottom = 26.0 * len(rows) + 12
    for tick in x.ticks(5):
        canvas.add(Line(((x(tick), 4), (x(tick), bottom)), "grid"))
        canvas.add(Text(x(tick), bottom + 18, percent(tick), "muted", 11, "middle"))
    for index, row in enumerate(rows):
        middle = 26.0 * index + 20
        canvas.add(Text(names, middle + 4, cut(row.name, names - 4), "ink", 12, "end", bold=index == 0))
        if row.published is not None:
            canvas.add(Line(((x(row.mean), middle), (x(row.published), middle)), "muted", 1, dashed=True))
            canvas.add(Dot(x(row.published), middle, 5, "muted", True, True, row.published_tip))
        low, high = max(x.start, x(row.mean - row.half_width)), min(x.end, x(row.mean + row.half_width))
        canvas.add(Line(((low, middle), (high, middle)), row.color, 4, opacity=0.45))
        canvas.add(Dot(x(row.mean), middle, 5, row.color, tip=row.tip))
        number = f"{100 * row.mean:.2f} ± {100 * row.half_width:.2f}"
        canvas.add(Text(WIDTH - 4, middle + 4, number, "ink", 12, "end", bold=index == 0))
    return canvas


def scatter_chart(marks: Sequence[Mark], title: str, x_label: str) -> Canvas:
    """Accuracy against seconds; the marks ``front`` are joined by a line: nobody is both cheaper and better."""
    canvas = Canvas(WIDTH, 380, title)
    x = log_scale([mark.x for mark in marks], 70, WIDTH - 90, "time")
    y = accuracy_scale([mark.y for mark in marks], 332, 14)
    _axes(canvas, x, y, x_label, "accuracy", duration)
    front = sorted((mark.x, mark.y) for mark in marks if mark.front)
    if len(front) > 1:
        canvas.add(Line(tuple((x(px), y(py)) for px, py in front), "muted", 1.2, dashed=True))
    for mark in marks:
        canvas.add(Dot(x(mark.x), y(mark.y), 5, mark.color, square=mark.square, tip=mark.tip))
    taken = [(x(mark.x) - 6, y(mark.y) - 6, x(mark.x) + 6, y(mark.y) + 6) for mark in marks]
    for mark in sorted(marks, key=lambda mark: (not mark.front, -mark.y)):
        name = cut(mark.name, 150, 11)
        for left, top in _around(x(mark.x), y(mark.y), len(name) * _LETTER * 0.9):
            box = (left, top, left + len(name) * _LETTER * 0.9, top + 12)
            if box[0] > x.start and box[2] < WIDTH and not any(_overlap(box, other) for other in taken):
                canvas.add(Text(left, top + 10, name, "ink" if mark.front else "muted", 11))
                taken.append(box)
                break
    return canvas


_Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def _around(x: float, y: float, width: float) -> list[Point]:
    """Corners of a name at the right, left, above and below of a mark."""
    return [(x + 9, y - 6), (x - 9 - width, y - 6), (x - width / 2, y - 20), (x - width / 2, y + 8)]


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def ridge_chart(rows: Sequence[tuple[str, str, npt.NDArray[np.float64]]], title: str, queries: int) -> Canvas:
    """How the accuracies of single episodes are distributed: a histogram for each row, its mean and worst tenth.

    A row is name, color, accuracies. An episode of ``queries`` has so many accuracies and one more: no bar is made of
    more of them than another.
    """
    names, step = 150.0, 44.0
    canvas = Canvas(WIDTH, step * len(rows) + 60, title)
    low = min(0.9, float(min(np.percentile(values, 0.2) for *_, values in rows)))
    wide = max(1, round((1 - low) * queries / 40)) / queries  # of a bar
    edges = 1 + 0.5 / queries - wide * np.arange(int((1 - low) / wide) + 2)[::-1]
    x = Scale(max(0.0, float(edges[0])), float(edges[-1]), names + 12, WIDTH - 26)
    bottom = step * len(rows) + 22
    for tick in x.ticks(6):
        canvas.add(Line(((x(tick), 8), (x(tick), bottom)), "grid"))
        canvas.add(Text(x(tick), bottom + 18, percent(tick), "muted", 11, "middle"))
    canvas.add(Text((x.start + x.end) / 2, bottom + 35, "accuracy of one episode", "muted", 12, "middle"))
    for index, (name, color, values) in enumerate(rows):
        base = step * (index + 1) + 12
        counts = np.histogram(np.clip(values, x.low, 1.0), edges)[0]
        heights = 38.0 * np.sqrt(counts / max(1, counts.max()))
        outline = [(x.start, base)]
        for left, right, tall in zip(edges[:-1], edges[1:], heights, strict=True):
            outline += [(x(max(x.low, float(left))), base - float(tall)), (x(float(right)), base - float(tall))]
        mean, worst = float(values.mean()), float(np.sort(values)[: -(-len(values) // 10)].mean())
        tip = f"{name}: mean {100 * mean:.2f} %, the worst tenth of the episodes {100 * worst:.2f} %"
        canvas.add(Area((*outline, (x.end, base)), color, 0.5, tip), Line(((x.start, base), (x.end, base)), color))
        canvas.add(Text(names, base - 4, cut(name, names - 4), "ink", 12, "end"))
        canvas.add(Line(((x(mean), base), (x(mean), base - 38)), "ink", 1.6))
        canvas.add(Dot(x(max(worst, x.low)), base, 4, "ink", hollow=True, square=True, tip=tip))
    return canvas


def heat_map(
    names: Sequence[str], differences: npt.NDArray[np.float64], p: npt.NDArray[np.float64], title: str
) -> Canvas:
    """Row minus column, in percentage points: blue where the row is better; a dot where the test does not tell."""
    count = len(names)
    side = min(46.0, max(27.0, 520.0 / count))
    left, top = 170.0, 24.0 + _LETTER * min(20, max(len(name) for name in names))
    canvas = Canvas(max(WIDTH, left + side * count + 10), top + side * count + 10, title)
    extent = max(1e-9, float(np.abs(differences).max()))
    size = 11.0 if side > 38 else 9.0
    for column, name in enumerate(names):
        x = left + side * (column + 0.5)
        canvas.add(Text(x + 4, top - 8, cut(name, top - 14), "ink", 12, turned=True))
    for row, name in enumerate(names):
        y = top + side * row
        canvas.add(Text(left - 8, y + side / 2 + 4, cut(name, left - 12), "ink", 12, "end"))
        for column, other in enumerate(names):
            x = left + side * column
            if row == column:
                canvas.add(Box(x + 1, y + 1, side - 2, side - 2, "grid", 0.5))
                continue
            difference, clear = float(differences[row, column]), p[row, column] < 0.05
            color = SERIES[0] if difference > 0 else SERIES[1]
            strength = 0.12 + 0.55 * min(1.0, abs(difference) / extent) ** 0.5 if clear else 0.06
            verdict = f"p {_p(float(p[row, column]))} (Holm)"
            tip = f"{name} minus {other}: {signed(100 * difference)} points, {verdict}"
            canvas.add(Box(x + 1, y + 1, side - 2, side - 2, color, strength, tip=tip))
            text = signed(100 * difference, 1 if side < 36 or extent > 0.095 else 2) if clear else "·"
            canvas.add(Text(x + side / 2, y + side / 2 + 4, text, "ink" if clear else "muted", size, "middle"))
    return canvas


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def learning_panel(
    name: str, curves: Sequence[Series], chosen: Point, color: str, x: tuple[float, float], accuracies: Sequence[float]
) -> Canvas:
    """One model's validation accuracy in color before those of all others in gray."""
    canvas = Canvas(250, 150, f"Learning curve of {name}")
    across = Scale(*x, 40, 240, "log")
    up = accuracy_scale(accuracies, 122, 24)
    canvas.add(Text(8, 14, cut(name, 230, 13), "ink", 13, bold=True))
    for tick in up.ticks(4):
        canvas.add(
            Line(((40, up(tick)), (240, up(tick))), "grid"),
            Text(36, up(tick) + 4, percent(tick)[:-2], "muted", 10, "end"),
        )
    for tick in across.ticks(4):
        canvas.add(Text(across(tick), 138, f"{tick:,.0f}", "muted", 10, "middle"))
    for curve in sorted(curves, key=lambda curve: bool(curve.color)):
        points = tuple((across(px), up(max(py, up.low))) for px, py in curve.points)
        canvas.add(Line(points, curve.color or "muted", 2 if curve.color else 1, opacity=1 if curve.color else 0.25))
    tip = f"{name}: chosen at {100 * chosen[1]:.2f} % after {chosen[0]:,.0f} episodes"
    canvas.add(Dot(across(chosen[0]), up(chosen[1]), 4.5, color, hollow=True, tip=tip))
    return canvas
