"""Single episodes looked at closely: what every model made of each query, kept as data so that pages need no weights.

``fewshot report --closeups`` makes results/closeups.json where weights and images are; every page is drawn from it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.reports.html.row_names import Cell, Entry

FILE = "closeups.json"
Kind = Literal["typical", "hard"]
_HARD = 4  # episodes drawn as the hardest
_TYPICAL = 0.1  # share of the episodes that are harder than the one whose embeddings are drawn
_MOST_MODELS = 16


@dataclass(frozen=True)
class View:
    """What one model made of an episode."""

    name: str  # of the entry
    places: tuple[tuple[int, int], ...]  # projected embeddings, 0 to 1000: support, then queries; empty: none to draw
    share: float  # of the variance that the projection shows
    predicted: tuple[int, ...]  # a label for each query


@dataclass(frozen=True)
class Closeup:
    """One episode of one cell; the images are PNG files in base64, dark ink on white, support first."""

    kind: Kind
    protocol: str
    digest: str
    index: int  # of the episode
    class_names: tuple[str, ...]
    shot: int
    labels: tuple[int, ...]  # of the queries
    images: tuple[str, ...]
    views: tuple[View, ...]

    @property
    def way(self) -> int:
        return len(self.class_names)

    def picture(self, number: int) -> bytes:
        """Image ``number`` as a PNG: support class by class, then queries."""
        return base64.b64decode(self.images[number])

    def view_of(self, entry: Entry) -> View | None:
        """The view of an entry of the leaderboard, None where its weights were not here."""
        return next((view for view in self.views if view.name == entry.name), None)


def entries_to_look_at(cell: Cell) -> list[Entry]:
    """The best models that classify by their own rule; a read-out of frozen embeddings is no model of its own."""
    return [entry for entry in cell.entries if not entry.record.readout][:_MOST_MODELS]


def episodes_to_look_at(accuracies: npt.NDArray[np.float64]) -> list[tuple[Kind, int]]:
    """One typical of the harder tenth, and the hardest, by the mean over models: (models, episodes) -> indices."""
    order = np.argsort(accuracies.mean(axis=0), kind="stable")
    hard: list[tuple[Kind, int]] = [("hard", int(index)) for index in order[:_HARD]]
    return [("typical", int(order[int(_TYPICAL * len(order))])), *hard]


def closeups_of(closeups: Sequence[Closeup], cell: Cell, kind: Kind) -> list[Closeup]:
    """Those of one cell, on its very episodes."""
    return [of for of in closeups if (of.digest, of.kind) == (cell.digest, kind)]


def write_closeups(closeups: Sequence[Closeup], path: Path) -> Path:
    """Write them as JSON; the path."""
    content = json.dumps({"schema": 1, "closeups": [asdict(of) for of in closeups]}, indent=0, ensure_ascii=False)
    write_atomically(path, (content + "\n").encode())
    return path


def read_closeups(path: Path) -> list[Closeup]:
    """Those written before; none where there is no such file. Raises UserError where it is damaged."""
    if not path.is_file():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["closeups"]
        return [_closeup(of) for of in stored]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not hold closeups ({error}): `fewshot report --closeups` makes it anew"
        ) from error


def _closeup(of: dict[str, object]) -> Closeup:
    views = tuple(
        View(
            view["name"],
            tuple((int(x), int(y)) for x, y in view["places"]),
            float(view["share"]),
            tuple(view["predicted"]),
        )
        for view in of.pop("views")  # type: ignore[attr-defined]
    )
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in of.items()}
    return Closeup(views=views, **lists)  # type: ignore[arg-type]
