"""Drawings that are made of images: classes, pairs of classes, and embeddings on a map."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from fewshot.reports.colors import GRID, INK, MUTED, series
from fewshot.reports.plots.charts import WIDTH, cut, dots
from fewshot.reports.plots.inline_svg import tips
from fewshot.reports.plots.style import Drawing


@dataclass(frozen=True)
class SeenClass:
    """A class that is often got wrong, or two that are often taken for each other."""

    names: tuple[str, ...]
    images: tuple[bytes, ...]
    wrong: int  # of the queries
    queries: int


def color_of_class(number: int) -> str:
    """Of its frame, its dots and its letter."""
    return series(number)[0]


def paper(height: float, title: str) -> tuple[Figure, Axes]:
    """An empty drawing in pixels from the upper left corner."""
    figure = Drawing((WIDTH / 72, height / 72), dpi=72, frameon=False)
    figure.set_label(title)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def word(axes: Axes, x: float, y: float, text: str, color: str, size: float, weight: str = "normal") -> None:
    """A text around (x, y), taken at its word: names of classes may have dollars in them."""
    axes.text(x, y, text, color=color, fontsize=size, weight=weight, ha="center", va="center", parse_math=False)


def picture(axes: Axes, png: bytes, x: float, y: float, side: float, frame: str, width: float, tip: str) -> None:
    """An image with its corner at (x, y), and a frame around it."""
    pixels = imread(io.BytesIO(png), format="png")
    if pixels.ndim == 3:
        pixels = pixels[:, :, :3] if (pixels[:, :, :1] != pixels[:, :, 1:3]).any() else pixels[:, :, 0]
    limits = axes.axis()
    look: dict[str, Any] = {"vmin": 0, "vmax": 1, "interpolation": "none", "aspect": "auto", "zorder": 3}
    axes.imshow(pixels, "gray", extent=(x, x + side, y + side, y), **look)
    axes.axis(limits)
    box = Rectangle((x, y), side, side, facecolor=(0, 0, 0, 0), edgecolor=frame, linewidth=width, zorder=3)
    tips(axes.add_patch(box), [tip])


def image_sheet(seen: Sequence[SeenClass], columns: int, title: str, *, named: bool = False) -> Figure:
    """Classes or pairs of classes, an image of each, with how many queries were wrong and, if wanted, their names."""
    step = WIDTH / columns
    side = min(48.0, (step - 12) / max((len(of.images) for of in seen), default=1))
    line_height = side + (44 if named else 28)
    figure, axes = paper(max(1, -(-len(seen) // columns)) * line_height + 4, title)
    if not seen:
        word(axes, WIDTH / 2, line_height / 2, "no mistakes", MUTED, 12)
    for place, of in enumerate(seen):
        line, column = divmod(place, columns)
        middle, y = (column + 0.5) * step, 4 + line * line_height
        for number, png in enumerate(of.images):
            x = middle + side * (number - len(of.images) / 2)
            picture(axes, png, x, y, side, GRID, 1, of.names[number])
        if named:
            together = " / ".join(of.names)
            if cut(together, step, 9) != together:
                together = " / ".join(cut(name, step / len(of.names) - 9, 9) for name in of.names)
            word(axes, middle, y + side + 10, together, INK, 9)
        word(axes, middle, y + line_height - 18, f"{of.wrong} of {of.queries}", MUTED, 10.5)
    return figure


def central_images(places: Sequence[tuple[int, int]], classes: Sequence[int]) -> list[int]:
    """Of each class 0, 1, ... the image (its number) that lies nearest to the middle of its class."""
    at, numbers = np.asarray(places, np.float64), np.asarray(classes)
    found = []
    for number in range(int(numbers.max()) + 1):
        own = np.flatnonzero(numbers == number)
        found.append(int(own[np.abs(at[own] - np.median(at[own], axis=0)).sum(1).argmin()]))
    return found


def map_chart(
    places: Sequence[tuple[int, int]], classes: Sequence[int], names: Sequence[str], images: Sequence[bytes], title: str
) -> Figure:
    """Each image at its place (n, 2), in color and mark of its class; ``images`` are those of central_images."""
    figure, axes = paper(WIDTH, title)
    at = np.clip(20 + 0.38 * np.asarray(places, np.float64), 16, WIDTH - 16)
    looks = [series(number) for number in classes]
    for mark in dict.fromkeys(mark for _, mark in looks):
        of_mark = [row for row, look in enumerate(looks) if look[1] == mark]
        told, colors = [names[classes[row]] for row in of_mark], [looks[row][0] for row in of_mark]
        dots(axes, at[of_mark], told, 40, color=colors, marker=mark)
    side = 28.0 if len(names) <= 12 else 24.0
    for number, (index, png) in enumerate(zip(central_images(places, classes), images, strict=True)):
        x, y = at[index]
        picture(axes, png, x - side / 2, y - side / 2, side, color_of_class(number), 2.2, names[number])
    return figure
