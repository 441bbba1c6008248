"""The ways in which images of a published list of classes lie on people's disks: each gives class -> pictures.

A layout looks at few files to say whether it is there and which time stamps stand for it; it lists the pictures only
when asked for them.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from episodes.images.decoding import PICTURE_SUFFIXES, FilePicture, Picture
from episodes.spec import Split

Classes = dict[str, list[Picture]]
"""Class -> its pictures in the order of their file names."""

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "valid"),
    "test": ("test",),
}


class Layout(ABC):
    """One way of keeping the images, looked for in one folder."""

    title: ClassVar[str]
    version: ClassVar[int] = 1  # another one where it gives other pixels, or in another order: caches are made anew

    def __init__(self, folder: Path, class_list: dict[Split, list[str]]) -> None:
        self.folder, self.class_list = folder, class_list

    @abstractmethod
    def sources(self, split: Split) -> list[Path]:
        """The files and folders whose time stamps stand for the split; none where this layout does not have it."""

    @abstractmethod
    def classes(self, split: Split) -> Classes:
        """All that is filed under the split, right or wrong. Raises DataError when it cannot be listed."""


class ClassFolders(Layout):
    title = "one folder per class, below train/, val/ and test/ or all together"

    def sources(self, split: Split) -> list[Path]:
        nested = self._split_folder(split)
        if nested:
            return [nested, *subfolders(nested)]
        flat = [self.folder / name for name in self.class_list[split] if (self.folder / name).is_dir()]
        return [self.folder, *flat] if flat else []

    def _split_folder(self, split: Split) -> Path | None:
        """The folder of the split, when at least one class of the data set is in it."""
        known = {name for names in self.class_list.values() for name in names}
        folders = (path for path in subfolders(self.folder) if path.name.lower() in SPLIT_NAMES[split])
        return next((path for path in folders if known & {sub.name for sub in subfolders(path)}), None)

    def classes(self, split: Split) -> Classes:
        class_folders = [path for path in self.sources(split)[1:] if path.is_dir()]
        return {path.name: _pictures_below(path, self.folder) for path in class_folders}


def subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures_below(class_folder: Path, root: Path) -> list[Picture]:
    files = sorted(path for path in class_folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return [FilePicture(str(path), str(path.relative_to(root))) for path in files if not path.name.startswith(".")]


def find_layout(
    kinds: Sequence[type[Layout]], folders: Sequence[Path], split: Split, class_list: dict[Split, list[str]]
) -> Layout | None:
    """The first layout of these kinds, in the first of the folders, that has the split."""
    for folder in folders:
        for kind in kinds:
            layout = kind(folder, class_list)
            if folder.is_dir() and layout.sources(split):
                return layout
    return None


def source_fingerprint(sources: Sequence[Path]) -> str:
    """Twelve hexadecimal digits that change when one of these files or folders does. Reads none of them."""
    digest = hashlib.sha256()
    for path in sources:
        status = path.stat()
        size = 0 if path.is_dir() else status.st_size
        digest.update(f"{path.resolve()}\0{size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
