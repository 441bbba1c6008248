"""Core data types: ImageSet, Episode, LabeledRows; and ``gather``, which turns rows into what they stand for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

from episodes.errors import DataError as DataError  # named beside the types they speak of
from episodes.errors import EpisodeError as EpisodeError
from episodes.images.torch_dataset import labeled_images
from episodes.spec import SPLITS as SPLITS
from episodes.spec import Split as Split

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split as one uint8 tensor, sorted by class.

    Class ``c`` owns rows ``class_starts[c]:class_starts[c + 1]``; classes may differ in size.
    ``fingerprint`` is the SHA-256 of the image bytes, so that a record can name its pixels.
    """

    images: UInt8[Tensor, "num_images channels height width"]
    class_starts: Rows  # (num_classes + 1,)
    class_names: tuple[str, ...]
    dataset: str
    split: str
    fingerprint: str = ""

    def __post_init__(self) -> None:
        starts = self.class_starts
        if len(starts) != len(self.class_names) + 1 or starts[0] != 0 or starts[-1] != len(self.images):
            raise ValueError(f"class_starts must be {len(self.class_names) + 1} numbers from 0 to {len(self.images)}")
        if (np.diff(starts) < 0).any():
            raise ValueError("class_starts must not fall")

    @classmethod
    def from_torch(
        cls,
        dataset: Any,
        size: int | None = None,
        channels: int | None = None,
        *,
        name: str = "",
        split: str = "test",
    ) -> ImageSet:
        """The images of a torch ``Dataset`` of (image, label) pairs, sorted by class; all are read into memory.

        Images are PIL images or tensors (channels, height, width), uint8 or from 0 to 1; labels are whole numbers.
        ``size`` center-crops and resizes to a square; without it all must be of one shape already. ``channels`` is 1
        (gray) or 3 (color), or that of each image. Classes are named by ``dataset.classes`` where there is such a list,
        else by their label; labels that do not occur have no class. Raises DataError, which names the item that is none
        of these.
        """
        images, labels = labeled_images(dataset, size, channels)
        found, sizes = np.unique(labels, return_counts=True)
        known = list(getattr(dataset, "classes", ()))
        names = tuple(str(known[label]) if 0 <= label < len(known) else str(label) for label in found.tolist())
        starts = np.concatenate(([0], sizes.cumsum())).astype(np.int64)
        unnamed = cls(torch.from_numpy(images), starts, names, name or type(dataset).__name__, split)
        return replace(unnamed, fingerprint=unnamed.pixels_digest)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image_shape))
        counts = f"{self.num_classes:,} classes, {len(self.images):,} images {shape}"
        return f"ImageSet({self.dataset} {self.split}: {counts})"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def class_sizes(self) -> Rows:
        """Number of images per class, (num_classes,)."""
        return np.diff(self.class_starts)

    @cached_property
    def class_ids(self) -> Int64[Tensor, " num_images"]:
        """The class id of every image, (num_images,)."""
        return torch.from_numpy(np.repeat(np.arange(self.num_classes, dtype=np.int64), self.class_sizes))

    @cached_property
    def pixels_digest(self) -> str:
        """SHA-256 of the image bytes: the fingerprint, computed here and now where there is none."""
        return self.fingerprint or hashlib.sha256(self.images.numpy(force=True).tobytes()).hexdigest()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.images.shape
        return channels, height, width


@dataclass(frozen=True, eq=False)
class Episode:
    """A batch of episodes as row numbers of one ImageSet.

    The support is class-major: row ``c`` of the way axis holds the images of label ``c``. The queries come in
    random order with their labels beside them, so that no method can profit from their position.
    """

    support: Int64[Tensor, "batch way shot"]
    query: Int64[Tensor, "batch queries"]
    labels: Int64[Tensor, "batch queries"]  # 0 ... way - 1
    unlabeled: Int64[Tensor, "batch unlabeled"] | None = None  # (way + num_distractor) * num_unlabeled, shuffled

    def __repr__(self) -> str:
        batch, way, shot = self.support.shape
        unlabeled = "" if self.unlabeled is None else f", {self.unlabeled.shape[1]} unlabeled images"
        return f"Episode(batch of {batch}: {way}-way {shot}-shot, {self.query.shape[1]} queries{unlabeled})"

    def to(self, device: torch.device) -> Episode:
        """The same rows on another device."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.to(device)
        return Episode(self.support.to(device), self.query.to(device), self.labels.to(device), unlabeled)

    def __len__(self) -> int:
        return len(self.support)

    def part(self, first: int, count: int) -> Episode:
        """Episodes ``first`` to ``first + count - 1`` of this batch."""
        chosen = slice(first, first + count)
        unlabeled = None if self.unlabeled is None else self.unlabeled[chosen]
        return Episode(self.support[chosen], self.query[chosen], self.labels[chosen], unlabeled)


@dataclass(frozen=True, eq=False)
class LabeledRows:
    """A batch of labeled images as row numbers of one ImageSet."""

    rows: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]  # class ids

    def to(self, device: torch.device) -> LabeledRows:
        """The same rows on another device."""
        return LabeledRows(self.rows.to(device), self.labels.to(device))


def gather(table: Shaped[Tensor, "num_rows *item"], rows: Int64[Tensor, "*index"]) -> Shaped[Tensor, "*index *item"]:
    """The entries of ``table`` at ``rows``. Images or embeddings: it does not care what the table holds."""
    return table.index_select(0, rows.reshape(-1)).reshape(*rows.shape, *table.shape[1:])
