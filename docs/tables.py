"""Finished pages: tables and commands that a phone can show, and links that say where they lead.

Each value of a table knows the name of its column, so that site.css makes a row a card.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from bs4 import BeautifulSoup
from bs4.element import Tag
from sphinx.application import Sphinx

_BESIDE_EACH_OTHER = 3  # columns that a phone has room for, where their longest values
_TOGETHER_AT_MOST = 60  # have no more characters than this
_MANY = 9  # columns, between which there is little room; of more there is none
_TOGETHER = re.compile(r"(?<!±\u00a0)\b(\d+\.\d+) ±")  # a number and its first interval
_WHOLE = re.compile(r"\(\d+–\d+\)|(?<=[ >])\d+-(?:way|shot)(?=[ ,<])")  # where no line ends: (1–2), 5-way
_SHORT = re.compile(r'<span class="pre">(?=[^<]{1,24}</span>)')  # code: no line ends behind a dash
_LONG = 24  # characters of a name and a value that have a line of their own on a phone
_PROSE = 60


def finished(app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """A page as it is written; what it links that is a page of its own, as the leaderboard, is opened and not saved."""

    def titled(link: re.Match[str]) -> str:
        title = app.env.titles.get(link[1]) or app.env.titles.get(f"results/{link[1]}")
        return f">{escape(title.astext())}</span></a>" if title else link[0]

    if body := context.get("body"):
        body = re.sub(r"<table\b.*?</table>", lambda found: carded(found[0]), body, flags=re.DOTALL)
        body = re.sub(r'<div class="highlight-console .*?</pre>', lambda found: told(found[0]), body, flags=re.DOTALL)
        body = _SHORT.sub('<span class="pre whole">', body)
        body = re.sub(r">([\w/-]+)\.md</span></a>", titled, body)  # a path means little here
        context["body"] = re.sub(r' download=""(?= href="[^"]*\.html")', "", body)


def told(block: str) -> str:
    """Commands whose comments are parts of their own, so that a phone can set each below its command."""
    parts = r'</span><span class="gap">\1</span><span class="told">\2\n</span>'
    return re.sub(r"(?<=\S)( {2,})(# [^<]*)</span>\n", parts, block)


def carded(table: str) -> str:
    """A table whose values carry the names of their columns; as it was where it fits or has cells over several.

    A line may end before an interval and, in more than ``_MANY`` columns, between a number and its ±; not behind it.
    """
    table = _WHOLE.sub(r'<span class="whole">\g<0></span>', table.replace("± ", "±\u00a0").replace(" %", "\u00a0%"))
    soup = BeautifulSoup(table, "html.parser")
    heads = [row.find_all("th") for row in soup.select("thead tr")]  # pandas has a second row for the name of the index
    columns = len(heads[0]) if heads else 0
    rows = [row.find_all(["th", "td"]) for row in soup.select("tbody tr")]
    if columns < _BESIDE_EACH_OTHER or any(len(row) != columns for row in (*heads, *rows)):
        return table
    longest = sum(max(len(_text(cell)) for cell in column) for column in zip(*rows, strict=True))
    if columns == _BESIDE_EACH_OTHER and longest <= _TOGETHER_AT_MOST:
        return table
    names = [" ".join(filter(None, map(_text, column))) for column in zip(*heads, strict=True)]
    for row in rows:
        for name, cell in zip(names, row, strict=True):
            if words := _text(cell):
                cell["data-label"] = name
                kind = ["long"] * (len(name + words) > _LONG) + ["prose"] * (len(words) > _PROSE)
                _add_classes(cell, kind)
    assert soup.table is not None
    _add_classes(soup.table, ["cards", *["many"] * (columns >= _MANY)])
    return str(soup) if columns > _MANY else _TOGETHER.sub("\\1\u00a0±", str(soup))


def _add_classes(tag: Tag, names: list[str]) -> None:
    if names:
        tag["class"] = " ".join([*filter(None, tag.get_attribute_list("class")), *names])


def _text(cell: Tag) -> str:
    return " ".join(cell.get_text(" ").split())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
