"""CIFAR-100 (Krizhevsky 2009) as its author distributes it: what CIFAR-FS and FC100 are divisions of."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from episodes.datasets.layouts import Classes, Layout
from episodes.datasets.listed import Archive, ListedDataset
from episodes.errors import DataError
from episodes.images.decoding import ArrayPicture
from episodes.images.restricted_pickle import load_arrays
from episodes.spec import Split

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE  # of an image: its red plane, its green, its blue

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


class _CifarLayout(Layout):
    """A file with the names of the classes, and two with images of every class."""

    files: ClassVar[tuple[str, str, str]]

    def sources(self, split: Split) -> list[Path]:
        paths = [self.folder / name for name in self.files]
        return paths if all(path.is_file() for path in paths) else []

    def classes(self, split: Split) -> Classes:
        names_file, *parts = self.sources(split)
        names, wanted = self.names(names_file), set(self.class_list[split])
        classes: Classes = {name: [] for name in names if name in wanted}
        for part in parts:
            pixels, labels = self.images(part)
            if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
                raise DataError(f"{part} has labels beyond the {len(names)} names of {names_file.name}: get both again")
            pictures = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
            for row, label in enumerate(labels.tolist()):
                if names[label] in classes:
                    classes[names[label]].append(ArrayPicture(pictures[row], f"{part.name}[{row}]"))
        return classes

    @abstractmethod
    def names(self, path: Path) -> list[str]:
        """The classes by their numbers. Raises DataError."""

    @abstractmethod
    def images(self, path: Path) -> tuple[Bytes, Numbers]:
        """Pixels (n, 3072) and class numbers (n,). Raises DataError."""


class CifarPickles(_CifarLayout):
    title = "meta, train and test of cifar-100-python"
    files = ("meta", "train", "test")

    def names(self, path: Path) -> list[str]:
        names = _entries(path).get("fine_label_names")
        if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
            raise DataError(f"{path} is not CIFAR-100's: it holds no fine_label_names")
        return [name.decode("latin1") if isinstance(name, bytes) else name for name in names]

    def images(self, path: Path) -> tuple[Bytes, Numbers]:
        found = _entries(path)
        pixels, labels = found.get("data"), found.get("fine_labels")
        if (
            not isinstance(pixels, np.ndarray)
            or (pixels.dtype, pixels.shape[1:]) != (np.uint8, (_PIXELS,))
            or not isinstance(labels, list)
            or len(labels) != len(pixels)
            or not all(isinstance(label, int) and 0 <= label < 100 for label in labels)
        ):
            raise DataError(f"{path} is not CIFAR-100's: it must hold data, uint8 (n, {_PIXELS}), and n fine_labels")
        return pixels, np.asarray(labels, np.int64)


class CifarBinary(_CifarLayout):
    title = "fine_label_names.txt, train.bin and test.bin of cifar-100-binary"
    files = ("fine_label_names.txt", "train.bin", "test.bin")

    def names(self, path: Path) -> list[str]:
        return path.read_text(encoding="latin1").split()

    def images(self, path: Path) -> tuple[Bytes, Numbers]:
        content, record = np.fromfile(path, np.uint8), 2 + _PIXELS  # superclass, class, pixels
        if content.size % record:
            raise DataError(f"{path} is not CIFAR-100's, or not whole: {content.size:,} bytes are no {record}s")
        records = content.reshape(-1, record)
        return records[:, 2:], records[:, 1].astype(np.int64)


def _entries(path: Path) -> dict[object, object]:
    found = load_arrays(path)
    return found if isinstance(found, dict) else {}


class Cifar100(ListedDataset):
    """600 images of each class, 32x32: CIFAR-100's own 500 to train with and 100 to test with, in this order."""

    layouts = (CifarPickles, CifarBinary)
    images_per_class = 600
    comes_from = (
        "cifar-100-python.tar.gz (169 MB, or cifar-100-binary.tar.gz) of https://www.cs.toronto.edu/~kriz/cifar.html"
    )
    archives = (
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",  # as torchvision has it
            "cifar-100-python",
            "cifar-100-python",
        ),
    )
