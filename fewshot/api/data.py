"""Data sets, and episodes to look at."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from episodes.spec import EpisodeSpec

if TYPE_CHECKING:
    from PIL.Image import Image

    from episodes.datasets.base import Dataset
    from episodes.types import ImageSet, Split


class Data:
    """The three splits of a data set, each an ImageSet, read when it is first asked for.

    ``train``, ``val`` and ``test`` are disjoint sets of classes.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def name(self) -> str:
        """Data set, class split and side: ``omniglot-vinyals-28``."""
        return self.dataset.protocol_name

    def split(self, name: Split) -> ImageSet:
        """The ImageSet of one split. Raises DataError where files are missing."""
        return self.dataset.load(name)

    @cached_property
    def train(self) -> ImageSet:
        """The classes to train on."""
        return self.split("train")

    @cached_property
    def val(self) -> ImageSet:
        """The classes to choose on."""
        return self.split("val")

    @cached_property
    def test(self) -> ImageSet:
        """The classes to report."""
        return self.split("test")

    def __repr__(self) -> str:
        return f"Data({self.name}: .train .val .test)"


def load_dataset(
    name: str | Path = "omniglot", *, split: str | None = None, size: int | None = None, root: Path | str | None = None
) -> Data:
    """A data set by name, or your own images by the path of their folder or CSV file.

    ``split`` names the division of classes, ``size`` the side in pixels, ``root`` the folder of all data sets (else
    $FEWSHOT_DATA, else the user's data folder). What can be downloaded is. Raises DataError with what to do.

    >>> fs.load_dataset("strokes").test
    ImageSet(strokes-standard-28 test: 240 classes, 4,800 images 1x28x28)
    """
    from episodes.datasets.opening import open_dataset

    return Data(open_dataset(str(name), None if root is None else Path(root), split, size=size))


def show_episode(
    images: ImageSet, *, way: int = 5, shot: int = 1, query: int = 5, seed: int = 0, index: int = 0
) -> Image:
    """Episode ``index`` of ``seed`` as a picture: a row per class, support and queries side by side.

    A notebook shows what is returned; ``.save("episode.png")`` keeps it. Raises EpisodeError where the images do not
    allow such an episode.
    """
    from episodes.sampler import EpisodeSampler
    from fewshot.reports.plots.episodes import episode_picture

    episode = EpisodeSampler(images, EpisodeSpec(way, shot, query), seed).batch(index, 1)
    title = f"{images.dataset} {images.split}: {way}-way {shot}-shot, {query} queries a class, seed {seed}"
    return episode_picture(images, episode, title)
