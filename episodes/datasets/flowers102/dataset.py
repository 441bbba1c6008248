"""Flowers-102 (Nilsback and Zisserman 2008): numbered photos, their classes in a file of MATLAB."""

from __future__ import annotations

from pathlib import Path

from episodes.datasets.flowers102.card import CARD
from episodes.datasets.layouts import Classes, Layout
from episodes.datasets.listed import Archive, ListedDataset
from episodes.errors import DataError
from episodes.images.decoding import FilePicture
from episodes.spec import Split

_HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"


class LabelsOfMatlab(Layout):
    title = "jpg/ beside imagelabels.mat"

    def sources(self, split: Split) -> list[Path]:
        paths = [self.folder / "imagelabels.mat", self.folder / "jpg"]
        return paths if all(path.exists() for path in paths) else []

    def classes(self, split: Split) -> Classes:
        labels, photos = self.sources(split)
        names = {int(name[:3]): name for name in self.class_list[split]}  # 001 to 102, as in the file
        classes: Classes = {}
        for number, label in enumerate(_labels(labels), 1):
            if label in names:
                file = f"image_{number:05d}.jpg"
                classes.setdefault(names[label], []).append(FilePicture(f"{photos}/{file}", f"jpg/{file}"))
        return classes


def _labels(path: Path) -> list[int]:
    """The class of every photo, 1 to 102."""
    from scipy.io import loadmat  # takes time, and few starts need it

    try:
        return [int(label) for label in loadmat(path)["labels"].ravel()]
    except Exception as error:  # a damaged file of MATLAB can fail in every way
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} cannot be read as the labels of Flowers-102 ({reason}): get it again") from error


class Flowers102(ListedDataset):
    """Flowers-102: all photos of a class, whatever its authors' own lists of training and test images say."""

    card = CARD
    layouts = (LabelsOfMatlab,)
    num_images = 8189
    comes_from = f"102flowers.tgz (345 MB) and imagelabels.mat of {_HOME}/"
    archives = (  # checksums as torchvision has them
        Archive(f"{_HOME}/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "flowers-102/jpg", "jpg"),
        Archive(f"{_HOME}/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", "flowers-102/imagelabels.mat"),
    )
