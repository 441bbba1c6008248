"""A drawing as a list of simple shapes, in pixels from the upper left corner; as SVG here, as PNG in raster.py.

Colors are either a role (``ink``, ``muted``, ``grid``, ``paper``, ``accent``), which the page gives a light and a dark
value, or a fixed ``#rrggbb`` that is told from both. Numbers are rounded, so the same drawing is the same text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape

LIGHT = {"ink": "#1b2027", "muted": "#5a6370", "grid": "#e0e3e8", "paper": "#ffffff", "accent": "#b33f00"}
DARK = {"ink": "#e9ecf0", "muted": "#a6b0bd", "grid": "#333b46", "paper": "#191e25", "accent": "#ff9a5c"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Straight pieces through ``points``."""

    points: tuple[Point, ...]
    color: str = "ink"
    width: float = 1.0
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: tuple[Point, ...]
    color: str = "muted"
    opacity: float = 1.0
    tip: str = ""


@dataclass(frozen=True)
class Box:
    """A rectangle, filled or, where ``stroke`` is above 0, only framed; ``tip`` is shown to who points at it."""

    x: float
    y: float
    width: float
    height: float
    color: str = "muted"
    opacity: float = 1.0
    stroke: float = 0.0
    tip: str = ""


@dataclass(frozen=True)
class Dot:
    """A disc, or a ring around the paper's color where ``hollow``; a ``square`` stands on its tip."""

    x: float
    y: float
    radius: float
    color: str = "ink"
    hollow: bool = False
    square: bool = False
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """One line; ``y`` is its baseline, ``anchor`` start, middle or end; ``turned`` by a quarter, to read upward."""

    x: float
    y: float
    text: str
    color: str = "ink"
    size: float = 12.0
    anchor: str = "start"
    bold: bool = False
    turned: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG. ``ink`` says that it is dark ink on white: a dark page shows it inverted."""

    x: float
    y: float
    width: float
    height: float
    png: bytes
    ink: bool = False
    tip: str = ""


Shape = Line | Area | Box | Dot | Text | Picture


@dataclass
class Canvas:
    """A drawing with what is said of it to those who do not see it."""

    width: float
    height: float
    title: str
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Draw over what is there."""
        self.shapes += shapes

    def place(self, other: Canvas, x: float, y: float) -> None:
        """Draw another canvas with its corner at (x, y)."""
        self.shapes += [_moved(shape, x, y) for shape in other.shapes]

    def svg(self, symbols: dict[str, str] | None = None) -> str:
        """For inside a page. With ``symbols`` pictures are put there, once each, and only referred to here."""
        known: dict[str, str] = {} if symbols is None else symbols
        body = "".join(_element(shape, known) for shape in self.shapes)
        own = "" if symbols is not None else _definitions(known)
        size = f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" style="--w:{round(self.width)}px"'
        return f'<svg {size} role="img" aria-label="{escape(self.title)}">{own}{body}</svg>'

    def svg_file(self) -> str:
        """A file of its own, light or dark as its reader prefers."""
        variables = ";".join(f"--{role}:{color}" for role, color in LIGHT.items())
        dark = ";".join(f"--{role}:{color}" for role, color in DARK.items())
        style = f"svg{{{variables}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}.drawn{{filter:invert(1)}}}}"
        known: dict[str, str] = {}
        body = "".join(_element(shape, known) for shape in self.shapes)
        size = f'width="{_n(self.width)}" height="{_n(self.height)}" viewBox="0 0 {_n(self.width)} {_n(self.height)}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">'
            f"<title>{escape(self.title)}</title><style>{style}</style>{_definitions(known)}"
            f'<rect width="100%" height="100%" fill="var(--paper)"/>{body}</svg>\n'
        )


def grid_of(canvases: Sequence[Canvas], columns: int, title: str, gap: float = 16) -> Canvas:
    """Several drawings of one size in rows."""
    width, height = max(c.width for c in canvases), max(c.height for c in canvases)
    columns = min(columns, len(canvases))
    rows = -(-len(canvases) // columns)
    whole = Canvas(columns * (width + gap) - gap, rows * (height + gap) - gap, title)
    for index, canvas in enumerate(canvases):
        row, column = divmod(index, columns)
        whole.place(canvas, column * (width + gap), row * (height + gap))
    return whole


def _moved(shape: Shape, x: float, y: float) -> Shape:
    if isinstance(shape, Line | Area):
        return replace(shape, points=tuple((px + x, py + y) for px, py in shape.points))
    return replace(shape, x=shape.x + x, y=shape.y + y)


def _n(number: float) -> str:
    """One decimal at the most, without a trailing zero or a minus in front of it."""
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _color(color: str) -> str:
    return color if color.startswith("#") else f"var(--{color})"


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _closed(tag: str, tip: str) -> str:
    return f"<{tag}><title>{escape(tip)}</title></{tag.split()[0]}>" if tip else f"<{tag}/>"


def _faded(opacity: float, name: str) -> str:
    return f' {name}="{opacity:.2g}"' if opacity < 1 else ""


def _element(shape: Shape, symbols: dict[str, str]) -> str:
    match shape:
        case Line(points, color, width, dashed, opacity):
            dash = ' stroke-dasharray="4 3"' if dashed else ""
            look = f'stroke="{_color(color)}" stroke-width="{_n(width)}"{dash}{_faded(opacity, "stroke-opacity")}'
            return f'<polyline points="{_points(points)}" fill="none" {look}/>'
        case Area(points, color, opacity, tip):
            look = f'fill="{_color(color)}"{_faded(opacity, "fill-opacity")}'
            return _closed(f'polygon points="{_points(points)}" {look}', tip)
        case Box(x, y, width, height, color, opacity, stroke, tip):
            place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
            if stroke:
                return _closed(f'rect {place} fill="none" stroke="{_color(color)}" stroke-width="{_n(stroke)}"', tip)
            return _closed(f'rect {place} fill="{_color(color)}"{_faded(opacity, "fill-opacity")}', tip)
        case Dot():
            return _dot(shape)
        case Text():
            return _text(shape)
        case Picture():
            return _picture(shape, symbols)


def _dot(dot: Dot) -> str:
    color = _color(dot.color)
    look = f'fill="var(--paper)" stroke="{color}" stroke-width="1.8"' if dot.hollow else f'fill="{color}"'
    if dot.square:
        x, y, r = dot.x, dot.y, dot.radius * 1.2
        return _closed(f'polygon points="{_points(((x - r, y), (x, y - r), (x + r, y), (x, y + r)))}" {look}', dot.tip)
    return _closed(f'circle cx="{_n(dot.x)}" cy="{_n(dot.y)}" r="{_n(dot.radius)}" {look}', dot.tip)


def _text(text: Text) -> str:
    place = f'x="{_n(text.x)}" y="{_n(text.y)}"'
    if text.turned:
        place += f' transform="rotate(-90 {_n(text.x)} {_n(text.y)})"'
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    weight = ' font-weight="600"' if text.bold else ""
    look = f'font-size="{_n(text.size)}" fill="{_color(text.color)}"{anchor}{weight}'
    return f"<text {place} {look}>{escape(text.text, quote=False)}</text>"


def _picture(picture: Picture, symbols: dict[str, str]) -> str:
    name = f"p{hashlib.sha256(picture.png).hexdigest()[:10]}"
    look = ' class="drawn"' if picture.ink else ""
    if name not in symbols:
        data = base64.b64encode(picture.png).decode()
        image = f'<image href="data:image/png;base64,{data}" width="1" height="1" preserveAspectRatio="none"/>'
        symbols[name] = f'<symbol id="{name}" viewBox="0 0 1 1" preserveAspectRatio="none">{image}</symbol>'
    place = f'x="{_n(picture.x)}" y="{_n(picture.y)}" width="{_n(picture.width)}" height="{_n(picture.height)}"'
    return _closed(f'use href="#{name}" {place}{look}', picture.tip)


def _definitions(symbols: dict[str, str]) -> str:
    return f"<defs>{''.join(symbols.values())}</defs>" if symbols else ""
