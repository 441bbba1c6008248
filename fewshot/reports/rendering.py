"""Templates filled in: tables are frames of words, every value is escaped for the format it is put into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from episodes.errors import visible
from fewshot.reports.colors import DARK, FONT, LIGHT


class Bold(str):
    """A cell of a table that stands out."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of a page, each piece of it where there is one: a heading, a sentence, a table.

    ``table`` holds words, some of them ``Bold``; the columns named in ``numbers`` are aligned to the right. A page
    shows its first ``most`` rows, where there is such a number, and the others on demand; all of what is ``folded``.
    """

    heading: str = ""
    level: int = 2
    text: str = ""
    table: pd.DataFrame | None = None
    numbers: frozenset[str] = frozenset()
    most: int = 0
    folded: bool = False


def render(template: str, **values: Any) -> str:
    """The text of ``templates/<template>.j2``, whose ending says the format: .md, .html or .tex."""
    return _environment(template.rpartition(".")[2]).get_template(f"{template}.j2").render(values).strip() + "\n"


def table_of(rows: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """A table of words, from its rows: column -> word."""
    return pd.DataFrame(list(rows), dtype=object)


@cache
def _environment(form: str) -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("fewshot.reports"),
        autoescape=form == "html",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"md": markdown_escaped, "tex": tex_escaped}
    found.filters |= {"number_format": number_format, "number_cell": number_cell}
    found.filters["code"] = _code
    found.globals |= {"LIGHT": LIGHT, "DARK": DARK, "FONT": FONT, "variables": _variables}
    found.tests["bold"] = lambda value: isinstance(value, Bold)
    return found


def _code(text: str) -> Markup:
    """Text for HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _variables(colors: Mapping[str, str]) -> str:
    """A theme as variables of CSS."""
    return " ".join(f"--{role}: {color};" for role, color in colors.items())


def markdown_escaped(text: str) -> str:
    """Text in which nothing is markup, a link or the mark of a generated part, in one line."""
    line = visible(" ".join(text.split()))
    return re.sub(r"([\\`*\[\]<|~]|(?<!\w)_|_(?!\w)|(?<=<)!|(?<=:)/(?=/)|(?<=www)\.)", r"\\\1", line)


_TEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "−": "$-$", "~": r"\textasciitilde{}"}
_TEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"} | {"^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}


def tex_escaped(text: str) -> str:
    """Text in which nothing is a command of TeX, in one line."""
    return "".join(_TEX.get(letter, letter) for letter in " ".join(text.split()))


_NUMBER = re.compile(r"[+−-]?(\d+)\.(\d+)(?: ± (\d+)\.(\d+))?")


def number_format(words: Sequence[str]) -> str:
    """The ``table-format`` that holds these numbers: ``2.2(2)`` for 98.92 ± 0.05 and 68.50 ± 0.12."""
    found = [number for word in words if (number := _NUMBER.fullmatch(word))]
    if not found:
        return "1.2"
    sign = "+" if any(number[0][0] in "+−-" for number in found) else ""
    whole, digits = (max(len(number[group]) for number in found) for group in (1, 2))
    spread = max(len(f"{number[3] or ''}{number[4] or ''}".lstrip("0")) for number in found)
    return f"{sign}{whole}.{digits}" + (f"({spread})" if spread else "")


def number_cell(word: str) -> str:
    """A cell of such a column, with what is no number in braces."""
    if not _NUMBER.fullmatch(word):
        return f"{{{tex_escaped(word)}}}" if word else ""
    return ("\\bfseries " if isinstance(word, Bold) else "") + word.replace("±", "\\pm").replace("−", "-")
