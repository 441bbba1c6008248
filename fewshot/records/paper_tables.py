"""The papers' own tables, as data: which cells they have, what fills them here, and how our protocol differs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.records.numbers import Published, published
from fewshot.records.schema import Part

_OWN_ENCODER = {"relation": "relation", "gaussian-proto": "conv4-gaussian", "hausdorff": "pixels"}  # else conv4


class PaperTableError(UserError):
    """A table that does not exist, or whose file contradicts itself or numbers.csv."""


class PaperColumn(Part, frozen=True):
    """One kind of test. ``tolerance`` in points: how far trainings of one recipe may lie apart."""

    way: int
    shot: int
    tolerance: float
    query: int = 15
    distractors: int = 0
    protocol: str = ""  # runs: Lake's 20 published ones; empty: episodes drawn here
    dirichlet: int = 0  # concentration of unbalanced queries

    @property
    def title(self) -> str:
        """``5-way 1-shot``, and what else is particular."""
        particular = ", with distractors" if self.distractors else ", unbalanced queries" if self.dirichlet else ""
        return f"{self.way}-way {self.shot}-shot{particular}"


class Ours(Part, frozen=True):
    """What fills the cells of a row: a model as it is trained, and as it is tested where that is another rule.

    ``training`` holds the fields of the recipe that the row is about, such as ``train_way``; all others are free.
    ``test`` may name another model (``as``), its ``options``, a number of ``unlabeled`` images, of queries (``query``),
    a share of ``damage``; options and queries may be tables by shot.
    """

    model: str
    encoder: str = ""
    options: Mapping[str, Any] = {}
    encoder_options: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}
    damage: float = 0.0
    pixels: str = ""  # where the images are not the table's
    test: Mapping[str, Any] = {}
    readout: str = ""  # how frozen embeddings are classified; empty: the model's own rule

    @property
    def encoder_name(self) -> str:
        """The encoder, the model's own where none is named."""
        return self.encoder or _OWN_ENCODER.get(self.model, "conv4")

    @property
    def untrained(self) -> bool:
        """Whether there is nothing to learn, so that a test without a training fills the cell."""
        return self.model in ("hausdorff", "untrained")

    def tested_at(self, shot: int) -> tuple[str, dict[str, Any]]:
        """Model and options under which the row is tested at a shot."""
        other = self.test.get("as", self.model)
        kept = dict(self.options) if other == self.model else {}
        return other, kept | self.test_options(shot)

    def test_options(self, shot: int) -> dict[str, Any]:
        """Those that the test changes."""
        return _at(shot, self.test.get("options", {}))

    def query(self, column: PaperColumn) -> int:
        """Queries a class of a test episode."""
        return int(_at(column.shot, {"query": self.test.get("query", column.query)})["query"])

    def unlabeled(self, column: PaperColumn) -> tuple[int, int]:
        """Unlabeled images per class and distractor classes of a test episode."""
        number = int(self.test.get("unlabeled", self.training.get("unlabeled", 0)))
        return number, column.distractors if number else 0


@dataclass(frozen=True)
class Tested:
    """How the numbers of a table were tested: what a record of ours has, or in words what it has not; None: not stated.

    A field may hold a value for each shot.
    """

    images: Any = None  # a data set id: pixels and split
    queries: Any = None  # of a class
    batch_norm: Any = None  # RunRecord.batch_norm
    augmentation: Any = None  # Recipe.augment, or "none"
    encoder: Any = None
    unlabeled: Any = None  # of a class
    labeled_share: Any = None
    train_way: Any = None

    def at(self, shot: int) -> dict[str, Any]:
        """Field -> value at this shot."""
        return _at(shot, vars(self))


def _at(shot: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """What holds at a shot, of values of which each may be a table by shot."""
    return {name: of.get(str(shot)) if isinstance(of, dict) else of for name, of in values.items()}


class PaperRow(Part, frozen=True):
    """One method of a table. ``printed`` selects its rows of numbers.csv; ``ours`` is None where none is here."""

    name: str
    printed: Mapping[str, str]
    ours: Ours | None = None
    target: tuple[str, ...] = ()  # models whose records are held against these numbers, whatever their options
    tested: Mapping[str, Any] = {}  # where it differs from the table's
    by: str = ""  # who ran it, where it is not the authors of the method: ``run by Chen et al.``


class PaperTable(Part, frozen=True):
    """One table of one paper."""

    name: str
    title: str
    source: str
    dataset: str
    class_split: str
    pixels: str
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]
    differences: tuple[str, ...]
    tested: Mapping[str, Any] = {}

    def tested_of(self, row: PaperRow) -> Tested:
        """How the numbers of a row were tested. Raises PaperTableError for a field that does not exist."""
        try:
            return Tested(**{**self.tested, **row.tested})
        except TypeError as error:
            raise PaperTableError(f"{self.name}.toml, {row.name}: {error}") from error

    def pixels_of(self, ours: Ours) -> str:
        """The images and split of a row, as protocols name them."""
        return ours.pixels or self.pixels

    def published(self, row: PaperRow, column: PaperColumn) -> Published | None:
        """The printed number of a cell; None where numbers.csv has none. Raises PaperTableError where it has two."""
        wanted = dict(row.printed)
        variant = wanted.pop("variant", "").replace("{distractors}", "with" if column.distractors else "no")
        variant = variant.replace("{queries}", "Dirichlet" if column.dirichlet else "balanced")
        source, table = wanted.pop("source"), wanted.pop("table")
        found = [
            number
            for number in published()
            if (number.way, number.shot) == (column.way, column.shot)
            and number.source.startswith(source)
            and number.table.startswith(table)
            and (not variant or number.variant == variant)
            and all(getattr(number, name) == value for name, value in wanted.items())
        ]
        if len(found) > 1:
            raise PaperTableError(f"{self.name}: {len(found)} published numbers for {row.name}, {column.title}")
        return found[0] if found else None


@cache
def paper_table_names() -> tuple[str, ...]:
    """All tables, sorted."""
    files = resources.files("fewshot.records").joinpath("published_data").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


@cache
def paper_table(name: str) -> PaperTable:
    """One table by its name. Raises PaperTableError for an unknown name, with the near one."""
    if name not in paper_table_names():
        raise PaperTableError(unknown_name_message("paper table", name, paper_table_names()))
    file = resources.files("fewshot.records").joinpath("published_data", f"{name}.toml")
    try:
        return msgspec.convert({"name": name} | tomllib.loads(file.read_text(encoding="utf-8")), PaperTable)
    except msgspec.ValidationError as error:
        raise PaperTableError(f"{name}.toml: {error}") from error
