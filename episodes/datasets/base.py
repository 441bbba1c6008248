"""What a data set is to everybody else: where it lies, whether it is whole, and an ImageSet per split."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from episodes.datasets.cards import DATASETS, Card
from episodes.files import data_root
from episodes.progress import Progress, silent
from episodes.registry import unknown_name_message
from episodes.types import DataError, ImageSet, Split


class Dataset(ABC):
    """One data set under one class split of those on its card. Constructing one reads nothing; ``load`` does."""

    card: Card
    sizes: ClassVar[Sequence[int]] = ()  # sides in pixels that `at_size` offers
    downloadable: bool = False

    def __init__(self, root: Path | str | None = None, class_split: str | None = None) -> None:
        self.root = data_root(root)
        self.class_split = class_split or self.card.class_splits[0]
        self.image_shape = self.card.image_shape  # channels, height, width
        if self.class_split not in self.card.class_splits:
            raise DataError(unknown_name_message(f"{self.name} split", self.class_split, self.card.class_splits))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.protocol_name})"

    @property
    def name(self) -> str:
        """As in ``--dataset``."""
        return self.card.name

    @property
    def protocol_name(self) -> str:
        """The part of a protocol's name that says which pixels and which classes: ``omniglot-vinyals-28``."""
        return f"{self.name}-{self.class_split}-{self.image_shape[-1]}"

    def is_present(self) -> bool:
        """Whether the raw files are on this machine (a quick look, not a check)."""
        return self.card.is_present(self.root)

    def location(self) -> Path | None:
        """Where the raw files lie or would lie; None where there are none."""
        return self.card.location(self.root)

    @abstractmethod
    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        """The images of a split. Raises DataError when files are missing, naming them and what to do."""

    def files(self, split: Split) -> list[str]:
        """The file of every image of a split, in their order; empty where images are no files of their own."""
        return []

    def at_size(self, size: int) -> Dataset:
        """The same images with another side, in pixels. Raises DataError where they come in one size only."""
        if size != self.image_shape[-1]:
            raise DataError(
                f"{self.name} comes in {self.image_shape[-1]}x{self.image_shape[-1]} only: leave out --size"
            )
        return self

    def here_in_part(self) -> str:
        """What is here and what is not, where a part is kept in a way that a download would not go on from."""
        return ""

    def download(self, progress: Progress = silent) -> None:
        """Fetch the raw files. Raises DataError where there is nothing to fetch them from."""
        raise DataError(f"{self.name} has no download: {self.how_to_get()}")

    def how_to_get(self) -> str:
        """One sentence that tells a user where the raw files come from and where to put them."""
        return "nothing to do, it is drawn by the program itself"

    def what_fits(self, image_set: ImageSet) -> str:
        """Which way, shot and query a split allows, in a sentence; empty where everybody knows the data set."""
        return ""

    def summary(self) -> list[str]:
        """What ``check`` has to say where nothing is wrong, besides that."""
        return []

    @abstractmethod
    def check(self, progress: Progress = silent) -> list[str]:
        """Read everything through; the problems found, one line for each kind, none when the data are whole.

        A line may be a ``episodes.images.decoding.Problem``, which knows the names of all that it is about.
        """


def dataset_class(name: str) -> type[Dataset]:
    """The class that loads the data set of that name. Raises UnknownNameError, and DataError where there is none."""
    card = DATASETS.get(name)
    try:
        found: type[Dataset] = getattr(importlib.import_module(card.module), card.dataset.partition(":")[2])
    except (ImportError, AttributeError) as error:
        raise DataError(f"the class {card.dataset} of the data set {name} cannot be loaded: {error}") from error
    return found
