"""Any torch Dataset of images and labels becomes an ImageSet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import DataError, ImageSet

LABELS = [4, 0, 4, 2, 0, 2]  # out of order, and two labels that do not occur
PIXELS = torch.arange(6 * 3 * 4 * 4).remainder(256).to(torch.uint8).reshape(6, 3, 4, 4)
PAIRS: list[Any] = list(zip(PIXELS, LABELS, strict=True))


class Pairs(Dataset[Any]):
    """Items as they are given."""

    def __init__(self, items: list[Any], classes: tuple[str, ...] = ()) -> None:
        self.items, self.classes = items, classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index % len(self.items)]  # never an IndexError: the length must end it


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(PAIRS)


def picture(row: int) -> Image.Image:
    return Image.fromarray(PIXELS[row].permute(1, 2, 0).contiguous().numpy())


def test_images_are_sorted_by_class_whatever_they_come_as() -> None:
    found = [
        ImageSet.from_torch(TensorDataset(PIXELS, torch.tensor(LABELS))),
        ImageSet.from_torch(Pairs([(pixels / 255, label) for pixels, label in PAIRS])),
        ImageSet.from_torch(Pairs([(picture(row), np.int64(label)) for row, label in enumerate(LABELS)])),
        ImageSet.from_torch(Stream()),
    ]
    for image_set in found:
        assert torch.equal(image_set.images, PIXELS[[1, 4, 3, 5, 0, 2]])
        assert image_set.class_names == ("0", "2", "4")
        assert image_set.class_starts.tolist() == [0, 2, 4, 6]
        assert image_set.fingerprint == hashlib.sha256(image_set.images.numpy().tobytes()).hexdigest()
    assert repr(found[0]) == "ImageSet(TensorDataset test: 3 classes, 6 images 3x4x4)"
    assert EpisodeSampler(found[0], EpisodeSpec(3, 1, 1), 0)[0].support.shape == (1, 3, 1)


def test_classes_have_the_names_that_the_dataset_gives_them_and_images_the_size_that_is_asked_for() -> None:
    pairs = Pairs(PAIRS, ("ant", "bee", "cat", "dog", "elk"))
    image_set = ImageSet.from_torch(pairs, size=8, channels=1, name="animals", split="train")
    assert image_set.class_names == ("ant", "cat", "elk")
    assert (image_set.dataset, image_set.split, image_set.image_shape) == ("animals", "train", (1, 8, 8))
    gray = Pairs([(torch.rand(5, 7), 0), (Image.new("L", (7, 5)), 1)])
    assert ImageSet.from_torch(gray).image_shape == (1, 5, 7)
    assert ImageSet.from_torch(gray, channels=3).image_shape == (3, 5, 7)


@pytest.mark.parametrize(
    ("items", "complaint"),
    [
        ([], "holds no image"),
        ([(PIXELS[0], 0), PIXELS[1]], "item 1 of the dataset is not an image"),
        ([(PIXELS[0], "cat")], "item 0 of the dataset is not an image .* label: invalid literal"),
        ([(torch.zeros(2, 3, 4, 4), 0)], r"a tensor of shape \(2, 3, 4, 4\)"),
        ([(torch.full((3, 4, 4), -1.5), 0)], "numbers outside 0 to 1: leave out normalization"),
        ([(torch.zeros(3, 4, 4, dtype=torch.int64), 0)], "neither uint8 nor floating point"),
        ([(PIXELS[0], 0), (PIXELS[1, :, :2], 0)], r"item 1 .* than the first \(3x4x4 and 3x2x4\): give size"),
        ([("cat.png", 0)], "item 0 of the dataset is not an image"),
        ([(PIXELS[0], 0), (PIXELS[1], 0.7)], "item 1 of the dataset .* label: 0.7 is no whole number"),
        ([(PIXELS[0], float("inf"))], "item 0 of the dataset is not an image .* whole number"),
    ],
)
def test_what_is_no_image_with_a_label_is_named(items: list[Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as raised:
        ImageSet.from_torch(Pairs(items))
    assert "\n" not in str(raised.value)


def test_other_channels_than_gray_and_color_are_refused() -> None:
    with pytest.raises(DataError, match="channels must be 1"):
        ImageSet.from_torch(TensorDataset(PIXELS, torch.tensor(LABELS)), channels=4)


def test_images_that_are_turned_or_mirrored_views_are_taken_as_they_look() -> None:
    mirrored = PIXELS.numpy()[..., ::-1]
    found = ImageSet.from_torch(Pairs([(pixels, label) for pixels, label in zip(mirrored, LABELS, strict=True)]))
    assert torch.equal(found.images, PIXELS[[1, 4, 3, 5, 0, 2]].flip(-1))
