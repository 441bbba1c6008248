"""FGVC-Aircraft (Maji et al. 2013): photos of airplanes, their variants and boxes in lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from episodes.datasets.aircraft.card import CARD
from episodes.datasets.layouts import Classes, Layout
from episodes.datasets.listed import Archive, ListedDataset
from episodes.errors import DataError
from episodes.images.decoding import FilePicture
from episodes.images.download import UNCHECKED
from episodes.spec import Split


@dataclass(frozen=True)
class BoxedPicture:
    """The part of a picture that is in a box: left, top, right, bottom, in pixels."""

    whole: FilePicture
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return self.whole.name

    def open(self) -> Image.Image:
        return self.whole.open().crop(self.box)


class ListsAndBoxes(Layout):
    title = "images/ beside images_variant_trainval.txt, images_variant_test.txt and images_box.txt"

    def sources(self, split: Split) -> list[Path]:
        lists = ("images_box.txt", "images_variant_trainval.txt", "images_variant_test.txt")
        paths = [self.folder / name for name in ("images", *lists)]
        return paths if all(path.exists() for path in paths) else []

    def classes(self, split: Split) -> Classes:
        images, boxes_file, *lists = self.sources(split)
        boxes, wanted = dict(_pairs(boxes_file)), set(self.class_list[split])
        classes: Classes = {}
        for name, variant in sorted(pair for path in lists for pair in _pairs(path)):
            if variant in wanted:
                whole = FilePicture(f"{images}/{name}.jpg", f"images/{name}.jpg")
                classes.setdefault(variant, []).append(BoxedPicture(whole, _box(boxes_file, name, boxes.get(name, ""))))
        return classes


def _pairs(path: Path) -> list[tuple[str, str]]:
    """The first word and the rest of every line."""
    lines = (line.strip().partition(" ") for line in path.read_text(encoding="utf-8").splitlines())
    return [(name, rest) for name, _, rest in lines if name]


def _box(path: Path, name: str, text: str) -> tuple[int, int, int, int]:
    """As Pillow counts, from 0; in the list the first pixel is (1, 1)."""
    try:
        left, top, right, bottom = (int(number) for number in text.split())
    except ValueError:
        raise DataError(f"{path} has no box of four numbers for the image {name}: get it again") from None
    return left - 1, top - 1, right, bottom


class Aircraft(ListedDataset):
    """FGVC-Aircraft: each photo cut to the box of its airplane, as Meta-Dataset does; the line of its owner goes."""

    card = CARD
    layouts = (ListsAndBoxes,)
    images_per_class = 100
    comes_from = "fgvc-aircraft-2013b.tar.gz (2.8 GB) of https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
    archives = (
        Archive(
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            UNCHECKED,  # nobody publishes it; the archive has one of its own, and every class is counted
            "fgvc-aircraft-2013b",
            "fgvc-aircraft-2013b",
        ),
    )
