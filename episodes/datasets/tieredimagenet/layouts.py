"""The caches of Ren et al. (2018): an array of images, or a list of PNG files, beside a pickle of labels."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from episodes.datasets.layouts import Classes, Layout
from episodes.errors import DataError
from episodes.images.decoding import ArrayPicture, BytesPicture, Images, Picture
from episodes.images.restricted_pickle import load_arrays
from episodes.spec import Split


class RenCaches(Layout):
    """Their labels are numbers in the order of a folder of their authors, with the words of each class.

    Here the classes are called by WordNet's ids, as in folders, and so come in the same order.
    """

    title = "train_images.npz or train_images_png.pkl beside train_labels.pkl, so val and test"
    version = 2  # of the first the classes came in the order of the labels

    def sources(self, split: Split) -> list[Path]:
        labels = self.folder / f"{split}_labels.pkl"
        images = [self.folder / f"{split}_images.npz", self.folder / f"{split}_images_png.pkl"]
        there = [path for path in images if path.is_file()]
        return [labels, there[0]] if there and labels.is_file() else []

    def classes(self, split: Split) -> Classes:
        labels_file, images_file = self.sources(split)
        labels = _labels(labels_file)
        pictures = _of_npz(images_file) if images_file.suffix == ".npz" else _of_pickle(images_file)
        if len(labels) != len(pictures):
            raise DataError(f"{images_file} holds {len(pictures):,} images, {labels_file} {len(labels):,} labels")
        classes: Classes = {}
        for label, picture in zip(labels, pictures, strict=True):
            classes.setdefault(label, []).append(picture)
        return classes


@cache
def _ids_by_word() -> dict[str, str]:
    """WordNet's id of each of the 608 classes, by the first of its words in WordNet 3.0, in small letters."""
    words: dict[str, str] = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
    return {_first(word): wordnet_id for wordnet_id, word in words.items()}


def _first(words: str) -> str:
    """``House finch, linnet`` -> ``house finch``: no two of the classes share the first of their words."""
    return words.partition(",")[0].strip().lower()


def _labels(path: Path) -> list[str]:
    """The class of every image. Raises DataError where the words do not say which it is."""
    found = load_arrays(path)
    content: dict[str, Any] = found if isinstance(found, dict) else {}
    numbers: Any = content.get("label_specific", content.get("labels"))
    words = content.get("label_specific_str") or ()
    try:
        known = {n: w.decode("latin1") if isinstance(w, bytes) else w for n, w in enumerate(words)}
        rows = [int(number) for number in numbers]
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{path} must hold label_specific (or labels), a number for each image") from None
    named = {
        n: _ids_by_word()[_first(w)] for n, w in known.items() if isinstance(w, str) and _first(w) in _ids_by_word()
    }
    for row in rows:
        if row not in named:
            said = known.get(row)
            told = f"calls label {row} {said!r}" if isinstance(said, str) else f"has no word for label {row}"
            raise DataError(f"{path} {told} (label_specific_str), which names none of the 608 classes: get it anew")
    return [named[row] for row in rows]


def _of_pickle(path: Path) -> Sequence[Picture]:
    files = load_arrays(path)
    if not isinstance(files, list) or not all(
        isinstance(file, np.ndarray) and file.dtype == np.uint8 for file in files
    ):
        raise DataError(f"{path} must hold a list of PNG files, each an array of bytes")
    return [BytesPicture(file.tobytes(), f"{path.name}[{row}]") for row, file in enumerate(files)]


def _of_npz(path: Path) -> Sequence[Picture]:
    images = _mapped(path)
    if images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"the images of {path} must be uint8 (n, 84, 84, 3), not {images.shape}")
    # OpenCV read them: blue comes first
    return [ArrayPicture(image[..., ::-1], f"{path.name}[{row}]") for row, image in enumerate(images)]


def _mapped(path: Path) -> Images:
    """The array ``images`` of a NumPy archive, mapped where it lies: that of train has 9.5 GB."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("images.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            raise DataError(f"{path} is compressed: load it and save it anew by numpy.savez, which is read in place")
        with path.open("rb") as file:
            file.seek(member.header_offset + 26)
            file.seek(sum(struct.unpack("<HH", file.read(4))), 1)  # behind the member's name and extra field
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("an array of another version of the format")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if fortran or dtype != np.uint8:
                raise ValueError(f"an array of {dtype}")
            return np.memmap(path, np.uint8, "r", file.tell(), shape)
    except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} holds no whole array of images ({error}): get it again") from error
