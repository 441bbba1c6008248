"""The user's own images: one folder per class, or a CSV file with the columns filename, label and, optional, split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from episodes.datasets.base import Dataset
from episodes.datasets.folder.card import CARD
from episodes.datasets.folder.copies import Seen, near_copies_sentence
from episodes.datasets.folder.files import left_out_lines, left_out_sentence
from episodes.datasets.folder.identity import content_digest
from episodes.datasets.folder.listing import ClassFiles, Listing, list_images, shared_classes, spellings_lines
from episodes.errors import first_few
from episodes.files import cache_root, data_root
from episodes.images.array_cache import Decoder, cached_image_set
from episodes.images.decoding import (
    RESIZE_FILTER_NAME,
    FilePicture,
    Picture,
    Preparation,
    Problem,
    decode_pictures,
    fill_or_raise,
    unreadable_lines,
)
from episodes.progress import Progress, silent
from episodes.types import SPLITS, DataError, ImageSet, Split

FEWEST_CLASSES_TO_DIVIDE = 15
"""With fewer, a split at random would leave too little in each part, and ``auto`` puts every class into test."""

_Rule = Literal["given", "random", "test-only"]


def divide_at_random(names: list[str]) -> dict[Split, list[str]]:
    """64 % of the classes for train, 16 % for val and 20 % for test, in the proportions of miniImageNet.

    The classes are ordered by the SHA-256 of ``0:`` and their name, so the same names are divided in the same way on
    every machine. val and test come first, rounded, each at least one; train takes the rest. Raises DataError below
    three classes.
    """
    if len(names) < 3:
        raise DataError(f"{len(names)} classes cannot be divided into train, val and test: use the split test-only")
    order = sorted(names, key=_seed_0_order)
    num_val, num_test = max(1, round(0.16 * len(names))), max(1, round(0.2 * len(names)))
    parts = order[:num_val], order[num_val : num_val + num_test], order[num_val + num_test :]
    return {"val": sorted(parts[0]), "test": sorted(parts[1]), "train": sorted(parts[2])}


def _seed_0_order(name: str) -> str:
    return hashlib.sha256(f"0:{name}".encode(errors="surrogateescape")).hexdigest()


class Folder(Dataset):
    """The user's own images, center-cropped to a square and resized to ``image_size``.

    The class split is ``given`` by subfolders train, val and test (with class folders in them) or by the CSV file's
    column split; or ``random``, as ``divide_at_random`` says; or ``test-only``: every class is in test, for
    evaluating what was trained elsewhere. ``auto`` takes the given split where there is one, else a random one from
    15 classes on, else test-only. ``random`` and ``test-only`` pool the classes of given splits.

    Hidden files and files that are no images by their name are left out, and named by ``check``; classes may differ in
    size. Names that differ only in how Unicode composes their letters are one class; ``check`` and a run say so.
    Images are turned upright by their EXIF tag; transparent pixels become white; of 16 bits a pixel the upper 8 are
    kept, and 32 bits, or 12 in a file of 16, are refused. Large JPEG files are decoded at a reduced size, at least four
    times the final one.
    """

    card = CARD

    def __init__(
        self,
        root: Path | str | None = None,
        class_split: str | None = None,
        *,
        image_size: int = 84,
        channels: int = 3,
    ) -> None:
        super().__init__(root, class_split)
        self._chosen, self._content = root is not None, ""
        if image_size < 1 or channels not in (1, 3):
            raise DataError(f"image_size must be 1 or more and channels 1 or 3, not {image_size} and {channels}")
        self.image_shape = (channels, image_size, image_size)

    @property
    def protocol_name(self) -> str:
        """``folder-birds-random-84-1f2e3d4c``: name, rule of the split, side, the first digits of the content's digest.

        Gray images are named, too. Another folder of the same name, or the same one changed, has another.
        """
        color = "" if self.image_shape[0] == 3 else "-gray"
        return f"folder-{self._plain_name}-{self._rule}-{self.image_shape[-1]}{color}-{self.identify()[:8]}"

    def __repr__(self) -> str:
        return f"Folder({self.root if self._chosen else ''})"

    @property
    def _plain_name(self) -> str:
        """The folder's name, or the CSV file's, in letters that are fit for a file name."""
        name = self.root.stem if self.root.suffix.lower() == ".csv" else self.root.name
        return re.sub(r"[^\w.@-]+", "-", name)[:60] or "images"

    def is_present(self) -> bool:
        return self._chosen and (self.root.is_dir() or self.root.is_file())

    def location(self) -> Path | None:
        return self.root if self._chosen else None

    def how_to_get(self) -> str:
        if self._chosen:
            return "mend what is named, or take it out"
        return "say where your images are: --dataset FOLDER with one folder per class, or --dataset FILE.csv"

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        listing, rule, divided = self._listing, self._rule, self._divided
        classes = divided.get(split, {})
        if not classes:
            counts = ", ".join(f"{len(divided[part])} {part}" for part in SPLITS if divided.get(part))
            raise DataError(
                f"{self.root} has no {split} classes: the split {rule!r} makes {counts} classes of it; other splits: "
                f"{', '.join(other for other in self.card.class_splits[1:] if other != rule)}"
            )
        shape = f"{self.image_shape[-1]}-{self.image_shape[0]}ch"
        key = f"folder-{self._plain_name}-{shape}-{RESIZE_FILTER_NAME}-v1-{rule}-{split}-{listing.fingerprint}"
        where = cache_root(data_root())  # not beside the images: there it would be a class
        make_decoder = partial(self._decoder, listing, classes)
        return cached_image_set(where, key, self.protocol_name, split, make_decoder, progress)

    def files(self, split: Split) -> list[str]:
        classes = self._divided.get(split, {})
        return [file for name in sorted(classes) for file in classes[name]]

    def what_fits(self, image_set: ImageSet) -> str:
        said = [what_fits(image_set.split, image_set.class_names, image_set.class_sizes.tolist())]
        if image_set.split == "test":
            said += [self._announcement, self.oddities()]
        return " ".join(filter(None, said))

    @property
    def _announcement(self) -> str:
        """What ``auto`` decided by the number of classes, so that nobody is surprised when one is added."""
        if self.class_split != "auto" or self._rule == "given":
            return ""
        limit = f"{len(self._listing.classes)} classes, {FEWEST_CLASSES_TO_DIVIDE} are the limit"
        if self._rule == "random":
            return f"The classes are divided at random ({limit}): --split test-only tests on all of them."
        return f"All classes are for the test ({limit}): --split random divides them."

    def oddities(self) -> str:
        """What a user should know of the images before he trusts a number: files left out, classes merged, copies."""
        splits = [split for split in SPLITS if self._divided.get(split)]
        files = {split: self.files(split) for split in splits}
        copies = near_copies_sentence({split: self.load(split) for split in splits}, files, cache_root(data_root()))
        merged = [f"{line}." for line in spellings_lines(self._listing.spellings)]
        return " ".join(filter(None, [left_out_sentence(self._listing.left_out), *merged, copies]))

    def check(self, progress: Progress = silent) -> list[str]:
        try:
            listing = self._listing
            classes = {split: part for split in SPLITS if (part := self._divided.get(split))}
        except DataError as error:
            return [str(error)]
        parts = {split: _pictures(listing, part) for split, part in classes.items()}
        pictures = [picture for part in parts.values() for picture in part]
        seen = Seen(pictures, {split: len(part) for split, part in parts.items()})
        damages = decode_pictures(pictures, seen, self._preparation, "checking images", progress)
        problems: list[str] = [*unreadable_lines(damages), *seen.problems()]
        problems += left_out_lines({why: names for why, names in listing.left_out.items() if why != "hidden"})
        problems += spellings_lines(listing.spellings)
        if listing.without_images:
            problems.append(Problem(f"{len(listing.without_images)} folders hold no image", listing.without_images))
        sizes = {name: len(files) for part in classes.values() for name, files in part.items()}
        if single := [name for name, size in sizes.items() if size < 2]:
            problems.append(Problem(f"{len(single)} classes have a single image, too few for an episode", single))
        return problems

    def summary(self) -> list[str]:
        said = [
            what_fits(split, [*found], [*map(len, found.values())])
            for split in SPLITS
            if (found := self._divided.get(split))
        ]
        return [*said, *filter(None, [self._announcement])]

    @property
    def _preparation(self) -> Preparation:
        return Preparation(self.image_shape[0], self.image_shape[1], center_crop=True)

    @cached_property
    def _listing(self) -> Listing:
        """What is there; looked up once, since an object lives as long as a command."""
        if not self._chosen:
            raise DataError(f"no images were named: {self.how_to_get()}")
        return list_images(self.root)

    def identify(self, progress: Progress = silent) -> str:
        """The digest of the content, which is part of the name; found out once, for which every file is read."""
        if not self._content:
            where = cache_root(data_root())
            self._content = content_digest(self._listing, self._divided, self._rule, where, progress)
        return self._content

    @property
    def _rule(self) -> _Rule:
        """How the classes are divided, ``auto`` decided."""
        if self.class_split != "auto":
            return self.class_split  # type: ignore[return-value]  # one of the card's, as the constructor checks
        if self._listing.splits:
            return "given"
        return "random" if len(self._listing.classes) >= FEWEST_CLASSES_TO_DIVIDE else "test-only"

    @cached_property
    def _divided(self) -> dict[Split, ClassFiles]:
        listing, rule = self._listing, self._rule
        if rule == "test-only":
            return {"test": listing.classes}
        if rule == "random":
            names = divide_at_random(sorted(listing.classes))
            return {split: {name: listing.classes[name] for name in names[split]} for split in SPLITS}
        if not listing.splits:
            raise DataError(f"{self.root} gives no split: make subfolders train, val and test, or a CSV column split")
        if shared := shared_classes(listing.splits):
            raise DataError(
                f"{self.root}: {len(shared)} classes are in several splits: {first_few(shared)}. Splits divide "
                "classes, not images: move each class into one, or use the split random or test-only"
            )
        return listing.splits

    def _decoder(self, listing: Listing, classes: ClassFiles) -> Decoder:
        names = sorted(classes)
        sizes = [len(classes[name]) for name in names]
        advice = "Replace these files or take them out."
        return Decoder(
            self.image_shape,
            np.cumsum([0, *sizes], dtype=np.int64),
            tuple(names),
            partial(fill_or_raise, _pictures(listing, classes), self._preparation, str(self.root), advice),
        )


def _pictures(listing: Listing, classes: ClassFiles) -> list[Picture]:
    return [FilePicture(str(listing.path(file)), file) for name in sorted(classes) for file in classes[name]]


def what_fits(split: str, names: Sequence[str], sizes: Sequence[int]) -> str:
    """Which way, shot and query the classes of a split allow, in one or two sentences.

    The smallest class decides, because every class must be able to give shot + query images.
    """
    fewest, most = min(sizes), max(sizes)
    images = f"{fewest} images" if fewest == most else f"{fewest} to {most} images"
    have = f"{len(names)} {split} classes, {images} each"
    smallest = repr(names[sizes.index(fewest)])
    if fewest < 2:
        return f"{have}: no episode fits, because a class needs 2 images or more and {smallest} has {fewest}."
    if len(names) < 2:
        return f"{have}: no episode fits, because it takes 2 classes or more."
    five = f"5 shots need {6 - fewest} more in {smallest}" if fewest < 6 else f"5 shots leave up to {fewest - 5}"
    return f"{have}: up to {len(names)}-way. 1 shot leaves up to {fewest - 1} queries per class, {five}."
