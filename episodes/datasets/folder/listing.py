"""What a user's folder or CSV file of images holds: which files are of which class and, where told, which split."""

from __future__ import annotations

import csv
import hashlib
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from episodes.datasets.folder.files import LeftOut, Walk
from episodes.errors import DataError, first_few
from episodes.images.decoding import PICTURE_SUFFIXES, Problem
from episodes.spec import Split

ClassFiles = dict[str, list[str]]
"""Class name -> paths of its files as a user writes them: relative to the folder, or to the CSV file."""

_COLUMNS = ("filename", "label", "split")
_SPLIT_OF: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of splits, in small letters; any case is read."""


@dataclass(frozen=True)
class Listing:
    """All images of the user. ``splits`` is empty, or says which classes belong to which split."""

    base: Path  # what the paths are relative to
    classes: ClassFiles
    splits: dict[Split, ClassFiles]
    without_images: tuple[str, ...] = ()  # folders that might have been meant as classes
    left_out: LeftOut = field(default_factory=dict)  # every other file that was seen, by the reason
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each class with more than one

    def path(self, file: str) -> Path:
        return self.base / file

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over every file's class, path, size and time of change; reads no image."""
        digest, base = hashlib.sha256(f"{self.base.resolve()}\n".encode(errors="surrogateescape")), str(self.base)
        for class_name, files in sorted(self.classes.items()):
            for file in files:
                try:
                    status = os.stat(os.path.join(base, file))  # noqa: PTH116, PTH118 - a Path takes ten times as long
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
    walk = Walk(root)
    subfolders = walk.subfolders()
    walk.loose()
    named = [name for name in subfolders if name.lower() in _SPLIT_OF]
    split_folders = [name for name in named if walk.subfolders(name)]
    if not split_folders:
        if len(named) > 1 and named == subfolders:
            raise DataError(
                f"{root}: {first_few(named)} look like splits, but hold no class folders: put the images of each class "
                "into a folder of its own, in there"
            )
        pooled = _pooled({_normal(name): walk.pictures(name)} for name in subfolders)
        if len(pooled) == 1 and (inner := walk.subfolders(subfolders[0])):
            raise DataError(
                f"{root} holds one folder, {subfolders[0]}, and that one the folders {first_few(inner)}: if those are "
                f"the classes or splits, name {root / subfolders[0]}"
            )
        return _without_empty(Listing(root, pooled, {}, left_out=walk.left_out, spellings=_spellings(subfolders)))
    others = [name for name in subfolders if name not in split_folders and walk.pictures(name)]
    if others:
        raise DataError(
            f"{root} holds {first_few(others)} beside {', '.join(split_folders)}: move the former away, or all class "
            "folders into train/, val/ and test/"
        )
    splits: dict[Split, ClassFiles] = {}
    written: list[str] = []
    for split_folder in split_folders:
        of_split = splits.setdefault(_SPLIT_OF[split_folder.lower()], {})
        walk.loose(split_folder)
        for name in walk.subfolders(split_folder):
            of_split.setdefault(_normal(name), []).extend(walk.pictures(f"{split_folder}/{name}"))
            written.append(name)
    pooled = _pooled(splits.values())
    return _without_empty(Listing(root, pooled, splits, left_out=walk.left_out, spellings=_spellings(written)))


def _without_empty(listing: Listing) -> Listing:
    empty = tuple(name for name, files in listing.classes.items() if not files)
    splits = {
        split: {name: classes[name] for name in classes if classes[name]} for split, classes in listing.splits.items()
    }
    classes = {name: files for name, files in listing.classes.items() if files}
    return Listing(listing.base, classes, splits, empty, listing.left_out, listing.spellings)


def _list_csv(csv_path: Path) -> Listing:
    """Columns filename and label and, if the user likes, split. Raises DataError when a needed column is absent."""
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(_lines(csv_path, csv.reader(file, skipinitialspace=True)))
    except (UnicodeDecodeError, csv.Error) as error:
        if zipfile.is_zipfile(csv_path) or tarfile.is_tarfile(csv_path):
            raise DataError(f"{csv_path} is a packed folder: unpack it, and name the folder") from None
        raise DataError(f"{csv_path} is not a CSV file in UTF-8: {error}") from None
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    if absent := [name for name in _COLUMNS[:2] if name not in header]:
        raise DataError(
            f"{csv_path} has no column {' and no column '.join(absent)}: its first line must name filename, label and, "
            f"if there are splits, split; it names {first_few(header) or 'nothing'}"
        )
    if twice := [name for name in _COLUMNS if header.count(name) > 1]:
        raise DataError(f"{csv_path} has two columns {twice[0]}: leave one")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) > len(header):
            raise DataError(
                f"{csv_path}, line {line}, has {len(cells)} values and the first line {len(header)}: put values that "
                "hold a comma into quotes"
            )
        rows.append({name: cell.strip() for name, cell in zip(header, cells, strict=False)})
    rows = [{name: row.get(name, "") for name in _COLUMNS} for row in rows]
    if unlabeled := [row["filename"] for row in rows if not row["filename"] or not row["label"]]:
        raise DataError(f"{csv_path} has {len(unlabeled)} lines without a file name or label: {first_few(unlabeled)}")
    _refuse_twice(csv_path, rows)
    others = [name for name in header if name and name not in _COLUMNS]
    left_out = {"column of the CSV file that is not read": others} if others else {}
    return _listing_of_rows(csv_path, rows, "split" in header, left_out)


def _lines(csv_path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that is not blank. Raises DataError for a quote that is never closed."""
    first = 1
    for cells in reader:
        if any("\n" in cell or "\r" in cell or "\0" in cell for cell in cells):
            raise DataError(
                f"{csv_path}, line {first}: a value goes on over the end of the line, or holds a null character: a "
                "stray quote?"
            )
        if cells:
            yield first, cells
        first = getattr(reader, "line_num") + 1  # noqa: B009 - the type of csv.reader has no name


def _refuse_twice(csv_path: Path, rows: list[dict[str, str]]) -> None:
    """However a path is written: ``./a.png`` is ``a.png``."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(os.path.normpath(csv_path.parent.absolute() / row["filename"]), []).append(row)
    if twice := [same for same in found.values() if len(same) > 1]:
        words = sorted({" = ".join(sorted({row["filename"] for row in same})) for same in twice})
        several = sum(len({row["label"] for row in same}) > 1 for same in twice)
        labels = f" ({several} of them under several labels)" if several else ""
        raise DataError(f"{csv_path} lists {len(twice)} files more than once{labels}: {first_few(words)}")


def _listing_of_rows(csv_path: Path, rows: list[dict[str, str]], has_splits: bool, left_out: LeftOut) -> Listing:
    splits: dict[Split, ClassFiles] = {}
    classes: ClassFiles = {}
    for row in sorted(rows, key=lambda row: row["filename"]):
        name = _normal(row["label"])
        classes.setdefault(name, []).append(row["filename"])
        if has_splits:
            split = _SPLIT_OF.get(row["split"].lower())
            if split is None:
                raise DataError(
                    f"{csv_path} says split {row['split']!r} of {row['filename']}: valid are train, val, test"
                )
            splits.setdefault(split, {}).setdefault(name, []).append(row["filename"])
    spellings = _spellings(row["label"] for row in rows)
    return Listing(csv_path.parent, classes, splits, left_out=left_out, spellings=spellings)


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
    """The same class name on a Mac, which takes accents apart, as elsewhere; blanks around it are no part of it."""
    return unicodedata.normalize("NFC", name).strip() or name


def _spellings(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Of each class that is written in more than one way: its ways, sorted."""
    written: dict[str, set[str]] = {}
    for name in names:
        written.setdefault(_normal(name), set()).add(name)
    return {name: tuple(sorted(ways)) for name, ways in sorted(written.items()) if len(ways) > 1}


def spellings_lines(spellings: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    """A line on the classes that are written in several ways, letters outside of ASCII as escapes; none where none is.

    The ways look the same on a screen: an accent may be a letter's own or a sign behind it.
    """
    told = [f"{name} ({' = '.join(map(ascii, ways))})" for name, ways in spellings.items()]
    what = f"{len(told)} class names are written in several ways that look the same, each read as one class"
    return [Problem(what, told)] if told else []
