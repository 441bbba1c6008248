"""Data sets whose classes, and their division, somebody published: read from one of several layouts, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from episodes.datasets.base import Dataset
from episodes.datasets.cards import class_lists
from episodes.datasets.layouts import ClassFolders, Layout, find_layout, source_fingerprint
from episodes.files import cache_root
from episodes.images.array_cache import Decoder, cached_image_set
from episodes.images.decoding import (
    RESIZE_FILTER_NAME,
    MissingPicture,
    Picture,
    Preparation,
    Problem,
    decode_pictures,
    fill_or_raise,
    unreadable_lines,
)
from episodes.progress import Progress, silent
from episodes.types import SPLITS, DataError, ImageSet, Split


@dataclass(frozen=True)
class Archive:
    """A file to fetch, and what becomes of it: ``folder`` of the archive becomes ``target`` in the folder of all data
    sets; without a folder it is that very file."""

    url: str
    md5: str
    target: str
    folder: str = ""


class ListedDataset(Dataset):
    """Color images of the classes that the files ``<class split>.json`` beside the card name.

    A subclass says its ``card`` and, where images are not simply in a folder for each class, its ``layouts``. Images
    are resized by the filter that ``episodes.images.decoding`` names, center-cropped to a square before or squeezed;
    within a class they come in the order of their file names, or of the file that holds them.
    """

    layouts: ClassVar[tuple[type[Layout], ...]] = (ClassFolders,)
    sizes: ClassVar[Sequence[int]] = range(16, 513)
    center_crop: ClassVar[bool] = True
    images_per_class: ClassVar[int | None] = None  # None: classes differ in size
    num_images: ClassVar[int | None] = None  # of all classes
    archives: ClassVar[tuple[Archive, ...]] = ()
    comes_from: ClassVar[str]  # where a user gets it, and what of it

    def __init__(self, root: Path | str | None = None, class_split: str | None = None, size: int | None = None) -> None:
        super().__init__(root, class_split)
        self.downloadable = self.downloadable or bool(self.archives)
        if size is not None:
            self.image_shape = (self.image_shape[0], size, size)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.card.benchmarks[0].display_name

    @cached_property
    def class_list(self) -> dict[Split, list[str]]:
        """The classes of each split."""
        return class_lists(self.card)[self.class_split]

    def at_size(self, size: int) -> Dataset:
        """The same images with another side, in pixels."""
        if size not in self.sizes:
            return super().at_size(size)
        return type(self)(self.root, self.class_split, size)

    def how_to_get(self) -> str:
        fetching = f"`fewshot data get {self.name}` fetches it, or " if self.archives else ""
        return f"{fetching}get {self.comes_from}, and unpack it: it must lie in {self.location()}"

    def places(self) -> list[Path]:
        """The folders that are looked into."""
        return [self.card.location(self.root) or self.root]

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        """The images of a split; decoded on the first call, mapped from the cache afterwards.

        Raises DataError where the class split has no such classes, and where images are missing or damaged.
        """
        if not self.class_list[split]:
            raise DataError(
                f"{self.title} has no {split} classes (split {self.class_split}): train on another data set and test "
                f"here, `fewshot evaluate CHECKPOINT --dataset {self.name}`"
            )
        layout = self._find(split)
        if layout is None:
            raise DataError(f"{self.title} {split} is not on this machine: {self.how_to_get()}")
        fingerprint = source_fingerprint(layout.sources(split))
        key = f"{self.protocol_name}-v{layout.version}-{RESIZE_FILTER_NAME}-{split}-{fingerprint}"
        make_decoder = partial(self._decoder, layout, split)
        return cached_image_set(cache_root(self.root), key, self.protocol_name, split, make_decoder, progress)

    def check(self, progress: Progress = silent) -> list[str]:
        problems: list[str] = []
        splits_of: dict[str, list[str]] = {}
        total = 0
        for split in SPLITS:
            if not self.class_list[split]:
                continue
            layout = self._find(split)
            try:
                if layout is None:
                    raise DataError("not on this machine")
                classes = layout.classes(split)
            except DataError as error:
                problems.append(f"{split}: {error}")
                continue
            for class_name in classes:
                splits_of.setdefault(class_name, []).append(split)
            pictures = _all_pictures(classes)
            total += len(pictures)
            failed = decode_pictures(pictures, None, self._preparation, f"checking {split}", progress)
            found = (*self._miscounts(classes, split), *unreadable_lines(failed))
            problems += [Problem(f"{split}: {line.what}", line.names) for line in found]
        shared = [f"{name} ({', '.join(splits)})" for name, splits in splits_of.items() if len(splits) > 1]
        if shared:
            problems.append(Problem(f"{len(shared)} classes are in several splits", shared))
        if not problems and self.num_images not in (None, total):
            problems.append(f"{total:,} images, not the {self.num_images:,} of {self.title}")
        return problems

    def download(self, progress: Progress = silent) -> None:
        """Fetch and unpack what is missing; the archives stay. Raises DataError."""
        from episodes.images.download import fetch, unpack  # its imports take time, and few starts need them

        if not self.archives:
            super().download(progress)
        for archive in self.archives:
            target = self.root / archive.target
            if target.exists():
                continue
            file = target if not archive.folder else target.parent / archive.url.rpartition("/")[2]
            fetch(archive.url, file, md5=archive.md5, progress=progress)
            if archive.folder:
                unpack(file, target, archive.folder, progress)

    @property
    def _preparation(self) -> Preparation:
        return Preparation(self.image_shape[0], self.image_shape[1], center_crop=self.center_crop)

    def _find(self, split: Split) -> Layout | None:
        return find_layout(self.layouts, self.places(), split, self.class_list)

    def _decoder(self, layout: Layout, split: Split) -> Decoder:
        classes = layout.classes(split)
        pictures = _all_pictures(classes)
        missing = [picture.name for picture in pictures if isinstance(picture, MissingPicture)]
        problems = self._miscounts(classes, split)
        problems += [Problem("missing images", missing)] if missing else []
        where, advice = f"{self.title} {split} in {layout.folder} ({layout.title})", "Copy or fetch the data again."
        if problems:
            raise DataError(f"{where}: {'; '.join(problems)}. {advice}")
        return Decoder(
            self.image_shape,
            np.cumsum([0, *(len(classes[name]) for name in sorted(classes))], dtype=np.int64),
            tuple(sorted(classes)),
            partial(fill_or_raise, pictures, self._preparation, where, advice),
        )

    def _miscounts(self, classes: dict[str, list[Picture]], split: Split) -> list[Problem]:
        """What is wrong with the classes and image counts of a split, a line for each kind."""
        problems, right = [], self.class_list[split]
        home = {name: part for part, names in self.class_list.items() for name in names}
        if missing := [name for name in right if name not in classes]:
            problems.append(Problem(f"{len(missing)} of the {len(right)} classes are missing", missing))
        if foreign := [f"{name} ({home.get(name, 'in no split')})" for name in sorted(set(classes) - set(right))]:
            problems.append(
                Problem(f"{len(foreign)} classes do not belong to {self.class_split}'s {split} split", foreign)
            )
        wanted = self.images_per_class
        sizes = {name: len(pictures) for name, pictures in sorted(classes.items()) if name in right}
        if wrong := [f"{name} ({size})" for name, size in sizes.items() if size != (wanted or size or -1)]:
            problems.append(Problem(f"{len(wrong)} classes do not have {wanted or 'any'} images", wrong))
        return problems


def _all_pictures(classes: dict[str, list[Picture]]) -> Sequence[Picture]:
    return [picture for name in sorted(classes) for picture in classes[name]]
