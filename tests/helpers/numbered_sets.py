"""Image sets for tests of rows: the pixels of an image spell its row number, so that an image names itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from episodes.types import ImageSet


def numbered_set(sizes: Sequence[int], fingerprint: str = "numbered") -> ImageSet:
    """Class ``c`` has ``sizes[c]`` images of 1x2x2 pixels: the row number in base 256, lowest digit first."""
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    pixels = np.arange(starts[-1], dtype="<u4").view(np.uint8).reshape(-1, 1, 2, 2)
    names = tuple(f"class{index}" for index in range(len(sizes)))
    return ImageSet(torch.from_numpy(pixels), starts, names, "numbers", "train", fingerprint)


def number_of(images: Tensor) -> Tensor:
    """The row numbers that images (*index, 1, 2, 2) spell, (*index)."""
    return (images.flatten(-3).long() * torch.tensor([1, 256, 256**2, 256**3])).sum(-1)


def num_distinct(rows: Tensor) -> int:
    """How many different numbers there are."""
    return len(set(rows.flatten().tolist()))
