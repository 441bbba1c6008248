"""The page of the Python API: of each name its signature and a sentence, the rest on demand."""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from bs4.element import Tag
from sphinx.application import Sphinx

PAGE = "docs/reference/python"


def finished(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """The page as it is written."""
    if page == PAGE and (body := context.get("body")):
        context["body"] = folded(body)


def folded(body: str) -> str:
    """What stands below the first paragraph of each name is behind a line that says what it is; anchors stay."""
    soup = BeautifulSoup(body, "html.parser")
    for described in soup.select("dl.py > dd"):
        if described.find_parent("dl", class_="py") is not described.parent or described.find_parent("details"):
            continue  # a member of what is folded
        rest = [part for part in described.children if isinstance(part, Tag)][1:]
        if not rest:
            continue
        details, summary = soup.new_tag("details"), soup.new_tag("summary")
        for word in _contents(rest, soup):
            summary.append(word)
        details.append(summary)
        for part in rest:
            details.append(part.extract())
        described.append(details)
    return str(soup)


def _contents(parts: list[Tag], soup: BeautifulSoup) -> list[Tag | str]:
    """``Details, example, fit, predict``: the names of members are code."""
    members = [name.get_text() for part in parts if part.name == "dl" for name in part.select(":scope > dt .descname")]
    kinds = {
        "Details": any(part.name in ("p", "ul", "ol") for part in parts),
        "Example": any(part.select_one("pre") for part in parts if part.name != "dl"),
    }
    words: list[Tag | str] = [", ".join(kind for kind, there in kinds.items() if there).capitalize()]
    for member in members:
        code = soup.new_tag("code")
        code.string = member
        words += [", " if words != [""] else "", code]
    return words


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
