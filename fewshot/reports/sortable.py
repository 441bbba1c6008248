"""Tables of a page that a reader sorts and filters: a value carries what it is sorted by beside what it shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """What a table shows, what it is sorted by, and how it looks: ``best``, ``good``, ``open``, ``bad`` or plain."""

    text: str
    key: str = ""  # empty: the text
    look: str = ""
    note: str = ""


@dataclass(frozen=True)
class Heading:
    """The name of a column; numbers stand at the right."""

    text: str
    number: bool = False
    note: str = ""


@dataclass(frozen=True)
class SortableTable:
    """A table whose columns can be sorted; the first value heads its row."""

    title: str
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Value, ...], ...]
    filters: tuple[str, ...] = ()  # headings by whose values a reader chooses rows
    first: tuple[str, ...] = ()  # of these the ones that begin at the value of the first row
    extra: tuple[str, ...] = ()  # headings that a narrow page shows on demand

    def choices(self, column: int) -> list[str]:
        """The values of a column, each once, as they come."""
        return list(dict.fromkeys(row[column].text for row in self.rows if row[column].text))


def headings(words: str) -> tuple[Heading, ...]:
    """``model | gap #``: names of columns, a # behind those of numbers."""
    return tuple(Heading(word.strip(" #"), "#" in word) for word in words.split("|"))


def number(value: float, text: str, look: str = "", note: str = "") -> Value:
    return Value(text, f"{value:.9g}", look, note)
