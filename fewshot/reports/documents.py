"""Headings, paragraphs and tables, written as Markdown, HTML or TeX: the same content, the same bytes each time."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """``level`` 1 is the title."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Value:
    """What stands in a table; ``bold`` for the best, ``pale`` for what others published."""

    text: str
    bold: bool = False
    pale: bool = False


@dataclass(frozen=True)
class Table:
    """``columns`` are heads; those named in ``numbers`` are aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    numbers: frozenset[str] = frozenset()


Block = Heading | Paragraph | Table


def markdown(blocks: Sequence[Block]) -> str:
    """GitHub's Markdown, blocks apart by an empty line, without a line end at the end."""
    return "\n\n".join(_markdown_block(block) for block in blocks)


def _markdown_block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Table(columns, rows, numbers):
            lines = [f"| {' | '.join(columns)} |"]
            lines.append("|" + "".join("---:|" if column in numbers else "---|" for column in columns))
            lines += ["| " + " | ".join(_markdown_value(value) for value in row) + " |" for row in rows]
            return "\n".join(re.sub(r"  +", " ", line) for line in lines)


def _markdown_value(value: Value) -> str:
    text = value.text.replace("|", "\\|")
    mark = "**" if value.bold else "*" if value.pale else ""
    return f"{mark}{text}{mark}" if text else ""


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --line: #d8d8d8; --pale: #666; --head: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181c; --line: #3a3d42; --pale: #9aa0a6; --head: #22252a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 78rem; padding: 0 1rem; }
.wide { overflow-x: auto; margin: .6rem 0 1.6rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
th { background: var(--head); font-weight: 600; }
.number { text-align: right; }
.pale { color: var(--pale); font-style: italic; }
"""


def page(blocks: Sequence[Block], title: str) -> str:
    """A whole HTML page that needs nothing else, in light and dark."""
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Table(columns, rows, numbers):
            kinds = [' class="number"' if column in numbers else "" for column in columns]
            heads = "".join(f"<th{kind}>{html.escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
            lines = [
                "<tr>"
                + "".join(f"<td{kind}>{_html_value(value)}</td>" for value, kind in zip(row, kinds, strict=True))
                + "</tr>"
                for row in rows
            ]
            body = "\n".join(lines)
            return (
                f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
            )


def _html_value(value: Value) -> str:
    text = html.escape(value.text)
    if value.bold:
        return f"<strong>{text}</strong>"
    return f'<span class="pale">{text}</span>' if value.pale else text


_TEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "+": "$+$", "−": "$-$", "~": r"\textasciitilde{}"}
_TEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"} | {"^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def tex(blocks: Sequence[Block]) -> str:
    r"""Tables for \input into a paper that loads booktabs; headings and paragraphs become comments above them."""
    parts = []
    for block in blocks:
        match block:
            case Heading(_, text) | Paragraph(text):
                parts.append("% " + text.replace("\n", "\n% "))
            case Table(columns, rows, numbers):
                align = "".join("r" if column in numbers else "l" for column in columns)
                lines = [" & ".join(_tex_value(value) for value in row) + r" \\" for row in rows]
                heads = " & ".join(_tex(column) for column in columns)
                inner = "\n".join([rf"{heads} \\", r"\midrule", *lines])
                parts.append(f"\\begin{{tabular}}{{{align}}}\n\\toprule\n{inner}\n\\bottomrule\n\\end{{tabular}}\n")
    return "\n".join(parts)


def _tex_value(value: Value) -> str:
    text = _tex(value.text)
    if value.bold:
        return rf"\textbf{{{text}}}"
    return rf"\textit{{{text}}}" if value.pale and text else text
