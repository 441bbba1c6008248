"""What a user's folder or CSV file of images holds: which files are of which class and, where told, which split."""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from episodes.errors import DataError
from episodes.images.decoding import PICTURE_SUFFIXES, first_few
from episodes.spec import Split

ClassFiles = dict[str, list[str]]
"""Class name -> paths of its files as a user writes them: relative to the folder, or to the CSV file."""

_SPLIT_OF: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Listing:
    """All images of the user. ``splits`` is empty, or says which classes belong to which split."""

    base: Path  # what the paths are relative to
    classes: ClassFiles
    splits: dict[Split, ClassFiles]
    without_images: tuple[str, ...] = ()  # folders that might have been meant as classes

    def path(self, file: str) -> Path:
        return self.base / file

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over every file's class, path, size and time of change; reads no image."""
        digest = hashlib.sha256(f"{self.base.resolve()}\n".encode(errors="surrogateescape"))
        for class_name, files in sorted(self.classes.items()):
            for file in files:
                try:
                    status = self.path(file).stat()
                    stamp = f"{status.st_size}\0{status.st_mtime_ns}"
                except OSError:
                    stamp = "missing"
                digest.update(f"{class_name}\0{file}\0{stamp}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]


def list_images(root: Path) -> Listing:
    """The images of a folder, or those that a CSV file names. Raises DataError when there is no class among them."""
    if root.is_dir():
        listing = _list_folder(root)
        what = f"{root} holds no folder with images: put the images of each class into a folder of its own"
    elif root.is_file():
        listing = _list_csv(root)
        what = f"{root} lists no image"
    else:
        raise DataError(f"{root} is neither a folder of images nor a CSV file that lists them")
    if not listing.classes:
        raise DataError(f"{what} ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return listing


def _list_folder(root: Path) -> Listing:
    """One folder per class, either right below ``root`` or below train/, val/ and test/."""
    subfolders = _subfolders(root)
    split_folders = [name for name in subfolders if name in _SPLIT_OF and _subfolders(root / name)]
    if not split_folders:
        pooled = _pooled({_normal(name): _images_below(root, name)} for name in subfolders)
        return _without_empty(Listing(root, pooled, {}))
    others = [name for name in subfolders if name not in split_folders and _images_below(root, name)]
    if others:
        raise DataError(
            f"{root} holds {first_few(others)} beside {', '.join(split_folders)}: move the former away, or all class "
            "folders into train/, val/ and test/"
        )
    splits: dict[Split, ClassFiles] = {}
    for split_folder in split_folders:
        of_split = splits.setdefault(_SPLIT_OF[split_folder], {})
        for name in _subfolders(root / split_folder):
            of_split.setdefault(_normal(name), []).extend(_images_below(root, f"{split_folder}/{name}"))
    return _without_empty(Listing(root, _pooled(splits.values()), splits))


def _without_empty(listing: Listing) -> Listing:
    empty = tuple(name for name, files in listing.classes.items() if not files)
    splits = {
        split: {name: classes[name] for name in classes if classes[name]} for split, classes in listing.splits.items()
    }
    return Listing(listing.base, {name: files for name, files in listing.classes.items() if files}, splits, empty)


def _list_csv(csv_path: Path) -> Listing:
    """Columns filename and label and, if the user likes, split. Raises DataError when a needed column is absent."""
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = list(reader.fieldnames or ())
            rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{csv_path} is not a CSV file in UTF-8: {error}") from None
    if absent := [name for name in ("filename", "label") if name not in columns]:
        raise DataError(
            f"{csv_path} has no column {' and no column '.join(absent)}: its first line must name filename, label and, "
            f"if there are splits, split; it names {first_few(columns) or 'nothing'}"
        )
    files = sorted(row["filename"] for row in rows)
    if twice := sorted({file for file, following in pairwise(files) if file == following}):
        raise DataError(f"{csv_path} lists {len(twice)} files more than once: {first_few(twice)}")
    if unlabeled := [row["filename"] for row in rows if not row["filename"] or not row["label"]]:
        raise DataError(f"{csv_path} has {len(unlabeled)} lines without a file name or label: {first_few(unlabeled)}")
    return _listing_of_rows(csv_path, rows, "split" in columns)


def _listing_of_rows(csv_path: Path, rows: list[dict[str, str]], has_splits: bool) -> Listing:
    splits: dict[Split, ClassFiles] = {}
    classes: ClassFiles = {}
    for row in sorted(rows, key=lambda row: row["filename"]):
        name = _normal(row["label"])
        classes.setdefault(name, []).append(row["filename"])
        if has_splits:
            split = _SPLIT_OF.get(row["split"].strip().lower())
            if split is None:
                raise DataError(
                    f"{csv_path} says split {row['split']!r} of {row['filename']}: valid are train, val, test"
                )
            splits.setdefault(split, {}).setdefault(name, []).append(row["filename"])
    return Listing(csv_path.parent, classes, splits)


def shared_classes(splits: dict[Split, ClassFiles]) -> list[str]:
    """The classes that are in more than one split, sorted."""
    names = sorted(name for classes in splits.values() for name in classes)
    return sorted({name for name, following in pairwise(names) if name == following})


def _pooled(splits: Iterable[ClassFiles]) -> ClassFiles:
    pooled: ClassFiles = {}
    for classes in splits:
        for name, files in classes.items():
            pooled.setdefault(name, []).extend(files)
    return pooled


def _normal(name: str) -> str:
    """The same class name on a Mac, which takes accents apart, as elsewhere."""
    return unicodedata.normalize("NFC", name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _images_below(root: Path, folder: str) -> list[str]:
    """Every image in the folder and the folders in it, relative to ``root``, sorted."""
    found = []
    for parent, folders, files in os.walk(root / folder):
        folders[:] = [name for name in folders if not _hidden(name)]
        pictures = [name for name in files if not _hidden(name) and Path(name).suffix.lower() in PICTURE_SUFFIXES]
        found += [Path(parent, name).relative_to(root).as_posix() for name in pictures]
    return sorted(found)
