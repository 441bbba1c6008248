"""Corrupted images: a share of a data set loses its detail, so that a method can show whether it knows (Fort 2017)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from episodes.datasets.base import Dataset
from episodes.philox import random_words
from episodes.progress import Progress, silent
from episodes.types import DataError, ImageSet, Split

SHRINK = 4  # 28x28 becomes 7x7 and 28x28 again, as in the paper's released code
_STREAM = 9  # of random_words: apart from those of the episodes
_AT_ONCE = 4096  # images


class Corrupted(Dataset):
    """A data set of which ``share`` of the images were down-sampled four times and brought back to their size.

    Which ones is decided once, by the row of the image: a larger share corrupts the same images and more.
    Train, val and test are corrupted alike.
    """

    def __init__(self, inner: Dataset, share: float) -> None:
        if not 0 < share <= 1:
            raise DataError(f"the share of damaged images lies between 0 and 1, not at {share:g}")
        self.inner, self.share = inner, share
        self.card, self.root = inner.card, inner.root
        self.class_split, self.image_shape = inner.class_split, inner.image_shape
        self.sizes, self.downloadable = inner.sizes, inner.downloadable  # type: ignore[misc]  # of this one alone

    @property
    def protocol_name(self) -> str:
        """``omniglot-vinyals-28-damaged-75``: 75 % of the images."""
        return f"{self.inner.protocol_name}-damaged-{100 * self.share:g}"

    def is_present(self) -> bool:
        return self.inner.is_present()

    def location(self) -> Path | None:
        return self.inner.location()

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        """The images of a split, some corrupted; the fingerprint is that of the pixels as they are now."""
        return corrupt_images(self.inner.load(split, progress), self.share)

    def files(self, split: Split) -> list[str]:
        return self.inner.files(split)

    def at_size(self, size: int) -> Dataset:
        return Corrupted(self.inner.at_size(size), self.share)

    def here_in_part(self) -> str:
        return self.inner.here_in_part()

    def download(self, progress: Progress = silent) -> None:
        self.inner.download(progress)

    def how_to_get(self) -> str:
        return self.inner.how_to_get()

    def what_fits(self, image_set: ImageSet) -> str:
        return self.inner.what_fits(image_set)

    def summary(self) -> list[str]:
        return self.inner.summary()

    def check(self, progress: Progress = silent) -> list[str]:
        return self.inner.check(progress)


def corrupted(dataset: Dataset, share: float | None) -> Dataset:
    """The data set with a share of its images corrupted; the data set itself where that share is none or 0."""
    return Corrupted(dataset, share) if share else dataset


def corrupted_share(dataset: Dataset) -> float:
    """The share of its images that is corrupted; 0 for a data set as it is."""
    return dataset.share if isinstance(dataset, Corrupted) else 0.0


def corrupted_rows(num_images: int, share: float) -> Tensor:
    """Rows of the corrupted images, int64, ascending; each row is one of them with probability ``share``."""
    words = random_words(0, _STREAM, np.arange(num_images, dtype=np.int64), 1)[:, 0]
    return torch.from_numpy(np.flatnonzero(words < share * 2.0**32))


def corrupt_images(image_set: ImageSet, share: float) -> ImageSet:
    """A copy of the set, its corrupted images block means of 4x4 pixels, spread again by bilinear interpolation."""
    images = image_set.images.clone()
    height, width = images.shape[-2:]
    small = (max(1, height // SHRINK), max(1, width // SHRINK))
    for rows in torch.split(corrupted_rows(len(images), share), _AT_ONCE):
        shrunk = functional.adaptive_avg_pool2d(images[rows].float(), small)
        spread = functional.interpolate(shrunk, (height, width), mode="bilinear", align_corners=False)
        images[rows] = spread.round().to(torch.uint8)
    unnamed = replace(image_set, images=images, fingerprint="")
    return replace(unnamed, fingerprint=unnamed.pixels_digest)
