"""A figure as SVG inside a page: light or dark as the page is, with tooltips.

The library is matplotlib. It is needed for every other picture anyway, its SVG is the same bytes every time, its text
stays text, and a color in it is a style that a CSS variable can stand for, so one drawing serves light and dark pages;
its one gap, tooltips, takes ten lines here. Altair with vl-convert draws as fast and in as many bytes, but asks for
100 MB more to install, and Plotly puts 4 MB of JavaScript into every page that must work without a network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from fewshot.reports.colors import DARK, FONT, LIGHT
from fewshot.reports.plots.style import encode

_NEXT = "␞"
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


def tips(artist: Artist, texts: Sequence[str]) -> None:
    """What is shown to who points at the marks of an artist, one text for each mark in its order."""
    artist.set_gid(_NEXT.join(texts) + _NEXT)


def inline_svg(figure: Figure, shared: dict[str, str]) -> str:
    """The drawing for inside a page, which defines the CSS variables of LIGHT; one pixel is one point of the figure.

    Shapes that are used several times are collected in ``shared``, id -> element, for the page to hold once. Its name
    for those who do not see it is the figure's label.
    """
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    size = f'viewBox="0 0 {width} {height}" style="--w:{width}px"'
    return f'<svg {size} role="img" aria-label="{escape(str(figure.get_label()))}">{_drawn(figure, shared)}</svg>'


def svg_file(figure: Figure, *, photos: bool = False, scale: float = 1.0) -> str:
    """The drawing as a file of its own, light or dark as its reader prefers; ``photos`` stay as they are.

    It is ``scale`` times as large as the figure where there is room, and shrinks where there is none.
    """
    light, dark = (";".join(f"--{role}:{color}" for role, color in theme.items()) for theme in (LIGHT, DARK))
    inverted = "" if photos else "image{filter:invert(1)}"
    style = f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}{inverted}}}text{{fill:var(--ink)}}"
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    shared: dict[str, str] = {}
    body = _drawn(figure, shared)
    size = f'width="{scale * width:.0f}" height="{scale * height:.0f}" viewBox="0 0 {width} {height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
        f'font-family="{FONT}"><title>{escape(str(figure.get_label()))}</title><style>{style}</style>'
        f'<defs>{"".join(shared.values())}</defs><rect width="100%" height="100%" fill="var(--paper)"/>{body}</svg>\n'
    )


def _drawn(figure: Figure, shared: dict[str, str]) -> str:
    root = ElementTree.fromstring(encode(figure, Path("figure.svg")))
    for group in root.iter(f"{_SVG}g"):
        texts = group.get("id", "").split(_NEXT)[:-1]
        marks = (mark for part in (group, *group.findall(f"{_SVG}g")) for mark in part if mark.tag in _MARKS)
        for mark, text in zip(marks, texts, strict=False):
            ElementTree.SubElement(mark, f"{_SVG}title").text = text
    for definition in root.iter(f"{_SVG}defs"):
        for shape in definition.findall(f"{_SVG}path"):
            shared[shape.get("id", "")] = _element(shape, digits=2, kept=("id", "d"))
            definition.remove(shape)
    return "".join(_element(shape) for shape in root.iter() if shape.tag in (*_MARKS, f"{_SVG}text", f"{_SVG}image"))


_MARKS = (f"{_SVG}path", f"{_SVG}use")
_KEPT = ("d", "x", "y", "width", "height", "transform", "style", _HREF)


def _element(shape: ElementTree.Element, digits: int = 1, kept: Sequence[str] = _KEPT) -> str:
    """One shape as short as it gets: rounded numbers, the page's font, variables for the colors."""
    tag = shape.tag.removeprefix(_SVG)
    attributes = []
    for name, value in shape.items():
        if name not in kept or value.startswith("rotate(-0"):
            continue
        if name == _HREF:
            name = "href"
        elif name == "style":
            value = _style(value)
        elif name != "id":
            rounded = partial(_rounded, places=5 if name == "transform" else digits)
            value = re.sub(r"-?\d+\.\d+", rounded, value)
            value = re.sub(r"\s*([MLCQz])\s*", r"\1", value).strip()
        attributes.append(f' {name}="{escape(value)}"')
    title = shape.find(f"{_SVG}title")
    inside = escape(shape.text or "", quote=False) if tag == "text" else ""
    inside += f"<title>{escape(title.text or '', quote=False)}</title>" if title is not None else ""
    return f"<{tag}{''.join(attributes)}>{inside}</{tag}>" if inside else f"<{tag}{''.join(attributes)}/>"


def _rounded(number: re.Match[str], places: int) -> str:
    text = f"{round(float(number[0]), places) + 0:.{places}f}"  # + 0: no minus before a zero
    return text.rstrip("0").rstrip(".")


def _style(style: str) -> str:
    style = re.sub(r"font-family: [^;]*;? ?", "", style)
    for role, color in LIGHT.items():
        style = style.replace(color, f"var(--{role})")
    return style.replace(": ", ":").replace("; ", ";")
