"""Formulas as drawings in the page: no script, no font and no network, in the color of the text around them."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.application import Sphinx

_EM = 100  # units of the drawing
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def drawn(tex: str, place: str) -> str:
    """An SVG of a formula, as high as its letters are in the text; its TeX is what a screen reader gets.

    Raises ValueError for what is no formula, so that the build fails.
    """
    path = TextPath((0, 0), f"${' '.join(tex.split())}$", size=_EM, prop=FontProperties(math_fontfamily="cm"))
    box, parts = path.get_extents(), []
    for vertices, code in path.iter_segments(curves=True, simplify=False):
        points = "" if code == Path.CLOSEPOLY else " ".join(f"{value:.0f}" for value in vertices * _flipped(vertices))
        parts.append(_LETTERS[Path.code_type(code)] + points)
    left, top, width, height = (round(value) for value in (box.x0 - 2, -box.y1 - 2, box.width + 4, box.height + 4))
    size = f"width:{width / _EM:.2f}em;vertical-align:{(box.y0 - 2) / _EM:.2f}em"
    return (
        f'<svg class="math {place}" role="img" aria-label="{escape(tex)}" viewBox="{left} {top} {width} {height}" '
        f'style="{size}"><path fill="currentColor" d="{"".join(parts)}"/></svg>'
    )


def _flipped(vertices: Any) -> Any:
    """Signs of x and y in turns: SVG counts downwards."""
    return [1, -1] * (len(vertices) // 2)


def parts(tex: str) -> str:
    """A drawing for each equation, so that a narrow screen sets them below each other and shrinks none."""
    equations = tex.split(r",\quad")
    return " ".join(drawn(equation + "," * (equation is not equations[-1]), "block") for equation in equations)


def inline(translator: Any, node: nodes.math) -> None:
    """Within a line."""
    translator.body.append(drawn(node.astext(), "inline"))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """On lines of its own."""
    translator.body.append(f'<div class="formula">{parts(node.astext())}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("drawn", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
