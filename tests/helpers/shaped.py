"""Data sets by their shape alone."""

from __future__ import annotations

import numpy as np
import torch

from episodes.datasets.base import Dataset
from episodes.datasets.cards import DATASETS
from episodes.progress import Progress, silent
from episodes.types import ImageSet, Split


class Shaped(Dataset):
    """As many classes and images as a data set has, all of them black, in no memory."""

    def __init__(self, name: str) -> None:
        self.card = DATASETS.get(name)
        super().__init__()

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        train, of_class = {"omniglot": (4112, 20), "miniimagenet": (64, 600)}[self.name]
        num_classes = {"train": train, "val": train // 4}[split]
        images = torch.zeros(1, *self.image_shape, dtype=torch.uint8).expand(num_classes * of_class, -1, -1, -1)
        starts = np.arange(num_classes + 1) * of_class
        return ImageSet(images, starts, tuple(map(str, range(num_classes))), self.name, split, "black")

    def check(self, progress: Progress = silent) -> list[str]:
        return []
