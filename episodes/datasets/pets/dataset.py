"""Oxford-IIIT Pets (Parkhi et al. 2012): one folder of photos, whose names and lists say the breed."""

from __future__ import annotations

from pathlib import Path

from episodes.datasets.layouts import Classes, Layout
from episodes.datasets.listed import Archive, ListedDataset
from episodes.datasets.pets.card import CARD
from episodes.images.decoding import FilePicture
from episodes.spec import Split

_HOME = "https://www.robots.ox.ac.uk/~vgg/data/pets"


class ListedPhotos(Layout):
    title = "images/ beside annotations/trainval.txt and test.txt"

    def sources(self, split: Split) -> list[Path]:
        paths = [self.folder / name for name in ("images", "annotations/trainval.txt", "annotations/test.txt")]
        return paths if all(path.exists() for path in paths) else []

    def classes(self, split: Split) -> Classes:
        images, *lists = self.sources(split)
        listed = (line.split()[0] for path in lists for line in path.read_text(encoding="utf-8").splitlines() if line)
        classes: Classes = {}
        for name in sorted(listed):
            file = f"{name}.jpg"
            classes.setdefault(name.rpartition("_")[0], []).append(FilePicture(f"{images}/{file}", f"images/{file}"))
        return classes


class Pets(ListedDataset):
    """Oxford-IIIT Pets: the 7,349 photos of its two lists; breeds of cats begin with a capital letter."""

    card = CARD
    layouts = (ListedPhotos,)
    num_images = 7349
    comes_from = f"images.tar.gz (792 MB) and annotations.tar.gz of {_HOME}/"
    archives = (  # checksums as torchvision has them
        Archive(f"{_HOME}/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford-iiit-pet/images", "images"),
        Archive(
            f"{_HOME}/data/annotations.tar.gz",
            "95a8c909bbe2e81eed6a22bccdf3f68f",
            "oxford-iiit-pet/annotations",
            "annotations",
        ),
    )
