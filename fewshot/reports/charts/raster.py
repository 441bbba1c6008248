"""A canvas as a PNG, through matplotlib: the light colors, two pixels for one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle, Polygon, Rectangle

from episodes.files import write_atomically
from fewshot.reports.charts.canvas import LIGHT, Area, Box, Canvas, Dot, Line, Picture, Shape, Text

_DPI = 144
_POINTS = 72 / 96  # of a pixel


def write_png(canvas: Canvas, path: Path) -> Path:
    """Draw into a PNG file; its path."""
    with mpl.rc_context({"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "text.parse_math": False}):
        figure = Figure(figsize=(canvas.width / 96, canvas.height / 96), dpi=_DPI, facecolor=LIGHT["paper"])
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, canvas.width)
        axes.set_ylim(canvas.height, 0)
        axes.axis("off")
        for order, shape in enumerate(canvas.shapes):
            _draw(axes, shape, order)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=_DPI, facecolor=LIGHT["paper"], metadata={"Software": None})
    write_atomically(path, content.getvalue())
    return path


def _color(name: str) -> str:
    return LIGHT.get(name, name)


def _draw(axes: Axes, shape: Shape, order: int) -> None:
    match shape:
        case Line(points, color, width, dashed, opacity):
            across, down = zip(*points, strict=True)
            style = (0, (4 / width, 3 / width)) if dashed else "-"
            look: dict[str, Any] = {"lw": width * _POINTS, "ls": style, "alpha": opacity, "solid_capstyle": "butt"}
            axes.plot(across, down, color=_color(color), zorder=order, **look)
        case Area(points, color, opacity, _):
            axes.add_patch(Polygon(points, **_look(color, order), alpha=opacity))
        case Box(x, y, width, height, color, opacity, stroke, _):
            axes.add_patch(Rectangle((x, y), width, height, **_look(color, order, stroke), alpha=opacity))
        case Dot(x, y, radius, color, hollow, square, _):
            look = _look(color, order, 1.8 if hollow else 0)
            if hollow:
                look["facecolor"] = LIGHT["paper"]
            r = radius * 1.2
            corners = ((x - r, y), (x, y - r), (x + r, y), (x, y + r))
            axes.add_patch(Polygon(corners, **look) if square else Circle((x, y), radius, **look))
        case Text():
            _write(axes, shape, order)
        case Picture(x, y, width, height, png, _, _):
            _paste(axes, imread(io.BytesIO(png), format="png"), (x, x + width, y + height, y), order)


def _look(color: str, order: int, stroke: float = 0) -> dict[str, Any]:
    fill, edge = ("none", _color(color)) if stroke else (_color(color), "none")
    return {"facecolor": fill, "edgecolor": edge, "linewidth": stroke * _POINTS, "zorder": order}


def _write(axes: Axes, text: Text, order: int) -> None:
    side = {"start": "left", "middle": "center", "end": "right"}[text.anchor]
    look: dict[str, Any] = {
        "fontsize": text.size * 0.93 * _POINTS, "fontweight": "bold" if text.bold else "normal", "ha": side,
        "va": "baseline", "rotation": 90 if text.turned else 0, "rotation_mode": "anchor",
    }  # fmt: skip
    axes.text(text.x, text.y, text.text, color=_color(text.color), zorder=order, **look)


def _paste(axes: Axes, pixels: Any, extent: tuple[float, float, float, float], order: int) -> None:
    limits = axes.get_xlim(), axes.get_ylim()
    look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if pixels.ndim == 2 else {}
    axes.imshow(pixels, extent=extent, interpolation="nearest", aspect="auto", zorder=order, **look)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
