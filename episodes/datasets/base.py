"""What a data set is to everybody else: where it lies, whether it is whole, and an ImageSet per split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from episodes.images.array_cache import Progress, data_root, silent
from episodes.registry import Registry, unknown_name_message
from episodes.sampler import EpisodeSampler
from episodes.types import DataError, ImageSet, Split

DATASETS: Registry[type[Dataset]] = Registry("data set", "fewshot.datasets", lambda: Dataset)


class Dataset(ABC):
    """One data set under one class split.

    ``class_splits`` names the ways in which its classes are divided into train, val and test; the first is the
    default. Constructing one reads nothing; ``load`` does.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # one line for `fewshot list datasets`
    source: ClassVar[str]  # the citation
    class_splits: ClassVar[tuple[str, ...]]
    image_shape: tuple[int, int, int]  # channels, height, width
    sizes: ClassVar[tuple[int, ...]] = ()  # sides in pixels that `at_size` offers
    downloadable: ClassVar[bool] = False
    damage: float = 0.0  # share of the images that lost their detail on purpose (episodes.corruption)

    def __init__(self, root: Path | str | None = None, class_split: str | None = None) -> None:
        self.root = data_root(root)
        self.class_split = class_split or self.class_splits[0]
        if self.class_split not in self.class_splits:
            raise DataError(unknown_name_message(f"{self.name} split", self.class_split, self.class_splits))

    @property
    def protocol_name(self) -> str:
        """The part of a protocol's name that says which pixels and which classes: ``omniglot-vinyals-28``."""
        return f"{self.name}-{self.class_split}-{self.image_shape[-1]}"

    @abstractmethod
    def is_present(self) -> bool:
        """Whether the raw files are on this machine (a quick look, not a check)."""

    @abstractmethod
    def location(self) -> Path | None:
        """Where the raw files lie or would lie; None where there are none."""

    @abstractmethod
    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        """The images of a split. Raises DataError when files are missing, naming them and what to do."""

    def at_size(self, size: int) -> Dataset:
        """The same images with another side, in pixels. Raises DataError where they come in one size only."""
        if size != self.image_shape[-1]:
            raise DataError(
                f"{self.name} comes in {self.image_shape[-1]}x{self.image_shape[-1]} only: leave out --size"
            )
        return self

    def lake_runs(self) -> EpisodeSampler:
        """Lake's 20 published runs as episodes. Raises DataError where the data set has none."""
        raise DataError("Lake's 20 runs are of Omniglot: use --dataset omniglot --split lake")

    def download(self, progress: Progress = silent) -> None:
        """Fetch the raw files. Raises DataError where there is nothing to fetch them from."""
        raise DataError(f"{self.name} has no download: {self.how_to_get()}")

    def how_to_get(self) -> str:
        """One sentence that tells a user where the raw files come from and where to put them."""
        return "nothing to do, it is drawn by the program itself"

    def what_fits(self, image_set: ImageSet) -> str:
        """Which way, shot and query a split allows, in a sentence; empty where everybody knows the data set."""
        return ""

    @abstractmethod
    def check(self, progress: Progress = silent) -> list[str]:
        """Read everything through; the problems found, one line each, none when the data are whole."""
