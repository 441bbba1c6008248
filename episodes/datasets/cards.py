"""A card for each data set: what tables, recipes and reports must know of it before anything is loaded. No torch."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from episodes import datasets
from episodes.registry import Registry
from episodes.spec import SPLITS, Split


@dataclass(frozen=True)
class Benchmark:
    """A division of a data set's classes at one size, as it stands in tables.

    ``ways`` and ``shots`` are those of the field's tables; without any, nothing of it is listed as a standard protocol.
    ``rotations`` counts the neighboring test classes that are one class rotated, and so no independent sample.
    """

    class_split: str
    side: int  # pixels
    display_name: str
    num_test_classes: int
    rotations: int = 1
    ways: tuple[int, ...] = (5, 20)
    shots: tuple[int, ...] = (1, 5)
    published_as: str = ""  # the data set's name in the published numbers; empty: none of them is comparable


@dataclass(frozen=True)
class Place:
    """Where the raw files of a data set lie below the folder of all data sets.

    One of the ``folders``, the first of which is where they belong; they are there when one of the ``signs`` is in it.
    """

    folders: tuple[str, ...]
    signs: tuple[str, ...]

    def location(self, root: Path) -> Path:
        """The folder that has one of the signs, or else the first."""
        there = (root / folder for folder in self.folders if self._is_in(root / folder))
        return next(there, root / self.folders[0])

    def is_present(self, root: Path) -> bool:
        """Whether one of the folders has one of the signs."""
        return any(self._is_in(root / folder) for folder in self.folders)

    def _is_in(self, folder: Path) -> bool:
        return any((folder / sign).exists() for sign in self.signs)


@dataclass(frozen=True)
class Card:
    """One data set. ``dataset`` says which class loads it, as ``module:class``; it is imported when it is needed.

    ``family`` names the kind of images (drawings, photos): a data set without recipes of its own is trained by those of
    its family. ``location`` and ``is_present`` get the folder of all data sets.
    """

    name: str
    title: str  # one line for `fewshot list datasets`
    source: str  # the citation
    year: int
    dataset: str
    class_splits: tuple[str, ...]  # ways in which the classes are divided into train, val and test; the default first
    image_shape: tuple[int, int, int]  # channels, height, width, unless another size is asked for
    family: str
    benchmarks: tuple[Benchmark, ...] = ()
    classes_of: str = ""  # the larger data set from which the classes were taken
    shareable: bool = False  # whether images may be copied into a report that is passed on
    location: Callable[[Path], Path | None] = lambda root: None  # where the raw files lie or would lie
    is_present: Callable[[Path], bool] = lambda root: True  # whether they are there: a quick look, not a check

    @property
    def module(self) -> str:
        """Where the class is that loads the images."""
        return self.dataset.partition(":")[0]


@cache
def class_lists(card: Card) -> dict[str, dict[Split, list[str]]]:
    """Class split -> split -> names of its classes, as the files ``<class split>.json`` beside the card have them.

    ``all``, where it has no file, puts every class of the first class split into test.
    """
    folder = resources.files(card.module.rpartition(".")[0])
    lists: dict[str, dict[Split, list[str]]] = {}
    for name in card.class_splits:
        file = folder / f"{name}.json"
        if name == "all" and lists and not file.is_file():
            every = [found for names in lists[card.class_splits[0]].values() for found in names]
            lists[name] = {"train": [], "val": [], "test": sorted(every)}
        else:
            read = json.loads(file.read_text(encoding="utf-8"))
            lists[name] = {split: read[split] for split in SPLITS}
    return lists


def _of_folders() -> Iterator[tuple[str, Card]]:
    for folder in pkgutil.iter_modules(datasets.__path__):
        if folder.ispkg:
            card: Card = importlib.import_module(f"{datasets.__name__}.{folder.name}.card").CARD
            yield card.name, card


DATASETS: Registry[Card] = Registry("data set", "fewshot.datasets", lambda: Card, own=_of_folders)
"""The cards of the folders beside this file, and of installed packages: an entry point names the card."""


def benchmarks() -> dict[str, Benchmark]:
    """Every benchmark by the name with which its protocols begin (``omniglot-vinyals-28``), in the order of tables.

    Those with published numbers come first, then older data sets before younger ones.
    """
    found = [(DATASETS.get(name), benchmark) for name in DATASETS for benchmark in DATASETS.get(name).benchmarks]
    found.sort(key=lambda pair: (not pair[1].published_as, pair[0].year))
    return {f"{card.name}-{benchmark.class_split}-{benchmark.side}": benchmark for card, benchmark in found}
