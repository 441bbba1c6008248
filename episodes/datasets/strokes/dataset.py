"""Strokes: handwriting-like characters drawn by the program itself: no download, the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from episodes.datasets.base import Dataset
from episodes.datasets.strokes.card import CARD
from episodes.datasets.strokes.drawing import SIZE, draw
from episodes.progress import Progress, silent
from episodes.types import SPLITS, DataError, ImageSet, Rows, Split

DEFAULT_CLASSES = 1000
DEFAULT_DRAWERS = 20
GOLDEN_DIGESTS: dict[Split, str] = {
    "train": "cfacd6b8a8645dffc8bac6c2d5870f0fbf573162b1b467c46156943b77bb4add",
    "val": "194b181bc7aa88263895285a0c306f2d5848a9c959e06c6df99b1ca87000fc42",
    "test": "8894b9c160b9ec09e6ef2ca17667ef2707194bf1106e998174b807b6b9ccf36e",
}
"""SHA-256 of the default image sets: 640, 120 and 240 classes of 20 images."""

_CYCLE = 25
_RANGES: dict[Split, tuple[int, int]] = {"train": (0, 16), "val": (16, 19), "test": (19, 25)}  # 64, 12 and 24 %
_IMAGES_AT_ONCE = 1000  # few enough for the processor's cache


def split_classes(split: Split, num_classes: int) -> Rows:
    """The class indices of a split. By index modulo 25, so that asking for more classes moves none elsewhere."""
    classes = np.arange(num_classes, dtype=np.int64)
    first, end = _RANGES[split]
    return classes[(classes % _CYCLE >= first) & (classes % _CYCLE < end)]


class Strokes(Dataset):
    """28x28 characters of 1 to 4 random curved strokes, ink 255 on paper 0, each drawn once by every drawer.

    A class is a character; a drawer has habits (slant, size, proportions, roundness, tremor, pen) and every drawing
    deviates from them afresh. The image of a class and drawer is a function of (seed, class, drawer) alone: more
    classes or drawers change no image. 64 % of the classes are train, 12 % val, 24 % test.
    """

    card = CARD

    def __init__(
        self,
        root: Path | str | None = None,
        class_split: str | None = None,
        num_classes: int = DEFAULT_CLASSES,
        drawers: int = DEFAULT_DRAWERS,
        seed: int = 0,
    ) -> None:
        super().__init__(root, class_split)
        if not _CYCLE <= num_classes < 2**31:
            raise DataError(f"strokes needs {_CYCLE} classes or more to fill train, val and test, not {num_classes}")
        if not 2 <= drawers < 2**31:
            raise DataError(f"strokes needs 2 drawers or more, one each for support and query, not {drawers}")
        if not 0 <= seed < 2**64:
            raise DataError(f"the seed of strokes must be a whole number from 0 to 2**64 - 1, not {seed}")
        self.num_classes, self.drawers, self.seed = num_classes, drawers, seed

    @property
    def protocol_name(self) -> str:
        """``strokes-standard-28``; what differs from the default is named, as in ``strokes-standard-28-c500``."""
        choices = (("c", self.num_classes, DEFAULT_CLASSES), ("d", self.drawers, DEFAULT_DRAWERS), ("s", self.seed, 0))
        return super().protocol_name + "".join(
            f"-{letter}{value}" for letter, value, usual in choices if value != usual
        )

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        """Draw the images of a split; too quick (1 to 5 seconds by default) to be worth a cache."""
        classes = split_classes(split, self.num_classes)
        images = np.empty((len(classes), self.drawers, 1, SIZE, SIZE), np.uint8)
        at_once = max(1, _IMAGES_AT_ONCE // self.drawers)
        for first in range(0, len(classes), at_once):
            part = classes[first : first + at_once]
            drawn = draw(self.seed, np.repeat(part, self.drawers), np.tile(np.arange(self.drawers), len(part)))
            images[first : first + len(part)] = drawn.reshape(len(part), self.drawers, 1, SIZE, SIZE)
            progress(f"drawing strokes {split}", first + len(part), len(classes))
        return ImageSet(
            torch.from_numpy(images.reshape(-1, 1, SIZE, SIZE)),
            np.arange(len(classes) + 1, dtype=np.int64) * self.drawers,
            tuple(f"character{index:04d}" for index in classes),
            self.protocol_name,
            split,
            hashlib.sha256(images.tobytes()).hexdigest(),
        )

    def check(self, progress: Progress = silent) -> list[str]:
        """Draw everything; a line for every split whose bytes are not those of the machine it was made on."""
        if self.protocol_name != Strokes().protocol_name:
            return []  # nothing to compare with
        return [
            f"strokes {split} has other pixels on this machine (SHA-256 {found}): report it with your numpy version"
            for split in SPLITS
            if (found := self.load(split, progress).fingerprint) != GOLDEN_DIGESTS[split]
        ]
