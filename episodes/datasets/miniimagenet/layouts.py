"""The ways in which miniImageNet lies on people's disks, each read into the same thing: class id -> pictures."""

from __future__ import annotations

import csv
import os
import re
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from episodes.datasets.layouts import SPLIT_NAMES, Classes, ClassFolders, Layout, subfolders
from episodes.errors import DataError, first_few
from episodes.images.decoding import ArrayPicture, FilePicture, MissingPicture, Picture, PictureArchive
from episodes.images.restricted_pickle import load_arrays
from episodes.spec import Split

_CLASS_ID = re.compile(r"n\d{8}")


def _csv_of(folder: Path, split: Split) -> Path | None:
    places = [folder / below / f"{name}.csv" for below in ("", "split", "splits") for name in SPLIT_NAMES[split]]
    return next((place for place in places if place.is_file()), None)


def _rows(csv_path: Path) -> list[tuple[str, str]]:
    """(file name, class id) of every line, sorted."""
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if not {"filename", "label"} <= set(reader.fieldnames or ()):
                raise DataError(f"{csv_path} must begin with the line filename,label")
            rows = sorted((row["filename"] or "", row["label"] or "") for row in reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{csv_path} is not a CSV file in UTF-8: {error}") from error
    if twice := [name for (name, _), (following, _) in pairwise(rows) if name == following]:
        raise DataError(f"{csv_path} lists {len(twice)} files twice: {first_few(twice)}")
    return rows


class _CsvLayout(Layout):
    """A CSV file for each split says which picture is of which class; the pictures lie in one heap."""

    @abstractmethod
    def heap(self) -> dict[str, Picture]:
        """Every picture by its file name."""

    def classes(self, split: Split) -> Classes:
        pictures = self.heap()
        classes: Classes = {}
        for name, label in _rows(self.sources(split)[0]):
            classes.setdefault(label, []).append(pictures.get(name) or MissingPicture(name))
        return classes


class CsvAndImages(_CsvLayout):
    title = "images/ beside train.csv, val.csv and test.csv"

    def sources(self, split: Split) -> list[Path]:
        csv_path, images = _csv_of(self.folder, split), self.folder / "images"
        return [csv_path, images] if csv_path and images.is_dir() else []

    def heap(self) -> dict[str, Picture]:
        images = self.folder / "images"
        return {name: FilePicture(f"{images}/{name}", f"images/{name}") for name in os.listdir(images)}  # noqa: PTH208


class CsvAndZips(_CsvLayout):
    title = "zip files of images beside train.csv, val.csv and test.csv"

    def sources(self, split: Split) -> list[Path]:
        csv_path, archives = _csv_of(self.folder, split), sorted(self.folder.glob("*.zip"))
        return [csv_path, *archives] if csv_path and archives else []

    def heap(self) -> dict[str, Picture]:
        pictures: dict[str, Picture] = {}
        for path in sorted(self.folder.glob("*.zip")):
            pictures.update(PictureArchive(path).pictures())
        return pictures


class PickleCaches(Layout):
    title = "mini-imagenet-cache-train.pkl, -val.pkl (or -validation.pkl) and -test.pkl"

    def sources(self, split: Split) -> list[Path]:
        names = [f"mini-imagenet-cache-{name}.pkl" for name in SPLIT_NAMES[split]]
        phase = "train_phase_train" if split == "train" else split
        names.append(f"miniImageNet_category_split_{phase}.pickle")
        return [self.folder / name for name in names if (self.folder / name).is_file()][:1]

    def classes(self, split: Split) -> Classes:
        return classes_in_pickle(self.sources(split)[0])


def classes_in_pickle(path: Path) -> Classes:
    """The classes of one pickle cache: ``image_data`` with ``class_dict``, or ``data`` with ``labels``.

    The first form is that of Ren et al. (2018) and learn2learn, the second that of Gidaris and Komodakis (2018) and
    MetaOptNet. Raises DataError for anything else.
    """
    content = load_arrays(path)
    cache = content if isinstance(content, dict) else {}
    images = cache.get("image_data", cache.get("data"))
    try:
        rows = _rows_by_class(cache, len(images) if isinstance(images, np.ndarray) and images.ndim else 0)
    except (TypeError, ValueError, OverflowError):  # lists of something else than numbers
        rows = {}
    if not isinstance(images, np.ndarray) or not rows:
        keys = ", ".join(sorted(map(str, cache))[:8]) or type(content).__name__
        raise DataError(f"{path} must hold image_data and class_dict, or data, labels and catname2label, not {keys}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"the images of {path} must be uint8 (n, 84, 84, 3), not {images.dtype} {images.shape}")
    if any(not 0 <= row < len(images) for class_rows in rows.values() for row in class_rows):
        raise DataError(f"{path} names images beyond the {len(images)} it holds: it is damaged, get it again")
    return {
        name: [ArrayPicture(images[row], f"{path.name}[{row}]") for row in class_rows]
        for name, class_rows in rows.items()
    }


def _rows_by_class(cache: dict[str, object], num_images: int) -> dict[str, list[int]]:
    """Class id -> rows of the image array; empty where the pickle does not say.

    Raises ValueError for more rows than images: a pickle can name one long list a million times.
    """
    class_dict = cache.get("class_dict")
    if isinstance(class_dict, dict):
        if sum(map(len, class_dict.values())) > num_images:
            raise ValueError("more rows than images")
        return {str(name): [int(row) for row in rows] for name, rows in class_dict.items()}
    labels, numbers = cache.get("labels"), cache.get("catname2label")
    if not isinstance(labels, list | np.ndarray) or not isinstance(numbers, dict):
        return {}
    flat = np.asarray([int(label) for label in labels])  # NumPy itself would go into lists of lists, without an end
    return {str(name): np.flatnonzero(flat == int(number)).tolist() for name, number in numbers.items()}


LAYOUTS: tuple[type[Layout], ...] = (CsvAndImages, CsvAndZips, ClassFolders, PickleCaches)


def folders_to_look_in(folders: Sequence[Path]) -> list[Path]:
    """These, and behind them the folders one deeper, as an archive unpacks; no folder of a split or of a class."""
    parts = {name for names in SPLIT_NAMES.values() for name in names} | {"images"}
    deeper = [sub for folder in folders if folder.is_dir() for sub in subfolders(folder)]
    return [*folders, *(sub for sub in deeper if sub.name.lower() not in parts and not _CLASS_ID.fullmatch(sub.name))]
