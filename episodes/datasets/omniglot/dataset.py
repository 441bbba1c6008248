"""Omniglot (Lake et al. 2015): 1623 characters of 50 alphabets, each drawn once by 20 people."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageChops

from episodes.datasets.base import Dataset
from episodes.datasets.omniglot.card import CARD, PARTS, location
from episodes.files import cache_root
from episodes.images.array_cache import Decoder, cached_image_set
from episodes.images.decoding import FilePicture, Images, Problem
from episodes.progress import Progress, silent
from episodes.types import DataError, ImageSet, Split

DRAWERS = 20
RAW_SIZE = 105
SIZE = 28
RESIZE_FILTER = Image.Resampling.LANCZOS
"""Part of the protocol: another filter gives other pixels. Its name is in the cache key."""
PIXELS_VERSION = 1
"""Raise it whenever ``pixels`` would give other bytes for the same file."""
ROTATIONS = (0, 90, 180, 270)  # degrees, counterclockwise
_TRANSPOSE = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}

LAKE_VAL_ALPHABETS = (
    "Balinese",
    "Early_Aramaic",
    "Inuktitut_(Canadian_Aboriginal_Syllabics)",
    "Mkhedruli_(Georgian)",
    "Tifinagh",
)
"""Every sixth of the 30 background alphabets in alphabetical order (6th, 12th, ... 30th)."""


@dataclass(frozen=True)
class Character:
    """One character and where its drawings lie."""

    id: int  # 1 ... 1623, as in its file names
    part: str  # "images_background" or "images_evaluation"
    alphabet: str
    number: int  # 1, 2, ... within its alphabet

    @property
    def name(self) -> str:
        """As in ``Greek/character01``; also its folder within the part."""
        return f"{self.alphabet}/character{self.number:02d}"

    def file(self, drawer: int) -> str:
        """The drawing of one drawer (1 ... 20), relative to the data set's folder."""
        return f"{self.part}/{self.name}/{self.id:04d}_{drawer:02d}.png"


def _package_data(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def characters() -> tuple[Character, ...]:
    """All 1623 characters by id. The ids follow the data set's own order of alphabets, which is not alphabetical."""
    alphabets: dict[str, dict[str, int]] = json.loads(_package_data("alphabets.json"))
    found: list[Character] = []
    for part in PARTS:
        for alphabet, count in alphabets[part].items():
            for number in range(1, count + 1):
                found.append(Character(len(found) + 1, part, alphabet, number))
    return tuple(found)


@cache
def vinyals_ids(split: Split) -> frozenset[int]:
    """The character ids of a split of Vinyals et al. 2016, as distributed by Snell et al. 2017."""
    ranges: dict[str, list[tuple[int, int]]] = json.loads(_package_data("vinyals.json"))
    return frozenset(id for first, last in ranges[split] for id in range(first, last + 1))


def _lake_split(character: Character) -> Split:
    if character.part == "images_evaluation":
        return "test"
    return "val" if character.alphabet in LAKE_VAL_ALPHABETS else "train"


def split_characters(class_split: str, split: Split) -> tuple[Character, ...]:
    """The characters of a split by id."""
    if class_split == "lake":
        return tuple(found for found in characters() if _lake_split(found) == split)
    ids = vinyals_ids(split)
    return tuple(found for found in characters() if found.id in ids)


def class_name(character: Character, degrees: int) -> str:
    """As in ``Greek/character01`` or, rotated, ``Greek/character01@90``."""
    return f"{character.name}@{degrees}" if degrees else character.name


def read_drawing(path: Path) -> Image.Image:
    """A drawing as an 8-bit gray image, 105 x 105, ink 255 on paper 0. Raises DataError when it is not one."""
    try:
        with FilePicture(str(path), path.name).open() as image:
            drawing = image.convert("L") if image.size == (RAW_SIZE, RAW_SIZE) else image
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports a broken PNG as any of these
        raise DataError(
            f"{path} cannot be read as an image ({error}): delete it and run `fewshot data get omniglot`"
        ) from error
    if drawing.size != (RAW_SIZE, RAW_SIZE):
        raise DataError(f"{path} is {drawing.width}x{drawing.height} pixels, not {RAW_SIZE}x{RAW_SIZE}")
    return ImageChops.invert(drawing)


def pixels(drawing: Image.Image, degrees: int, size: int = SIZE) -> Image.Image:
    """A drawing rotated at full size and only then made small, 28 x 28; or left at its full size, 105 x 105."""
    rotated = drawing.transpose(_TRANSPOSE[degrees]) if degrees else drawing
    return rotated if size == RAW_SIZE else rotated.resize((size, size), RESIZE_FILTER)


class Omniglot(Dataset):
    """28x28 (or 105x105) drawings, ink 255 on paper 0, under one of two class splits.

    ``vinyals``: 1028/172/423 characters, each also rotated by 90, 180 and 270 degrees as classes of their own, which
    makes 4112/688/1692 classes; one alphabet may have characters in several splits.
    ``lake``: whole alphabets. Train is 25 background alphabets, val the 5 of ``LAKE_VAL_ALPHABETS``, test the 20
    evaluation alphabets. Lake's task knows no rotations, so there are none here, not in train either.

    Reads torchvision's folders, ``omniglot-py/images_background/<Alphabet>/character<NN>/<CCCC>_<SS>.png`` and
    likewise ``images_evaluation``, under ROOT, or directly in ROOT.
    """

    card = CARD
    sizes: ClassVar[tuple[int, ...]] = (SIZE, RAW_SIZE)
    downloadable = True
    url: ClassVar[str] = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
    md5: ClassVar[dict[str, str]] = {
        "images_background": "68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
    }

    def __init__(self, root: Path | str | None = None, class_split: str | None = None, size: int = SIZE) -> None:
        super().__init__(root, class_split)
        if size not in self.sizes:
            raise DataError(f"omniglot comes in 28x28 and 105x105, not {size}x{size}: choose --size 28 or 105")
        self.size, self.image_shape = size, (1, size, size)

    def at_size(self, size: int) -> Omniglot:
        """The drawings at 28x28 or, as they were scanned, 105x105."""
        return Omniglot(self.root, self.class_split, size)

    def location(self) -> Path:
        """The folder that holds, or would hold, ``images_background`` and ``images_evaluation``."""
        return location(self.root)

    def how_to_get(self) -> str:
        """Where the raw files come from and where they go."""
        return (
            f"run `fewshot data get omniglot`, or put images_background/ and images_evaluation/ into {self.location()}"
        )

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        """The images of a split; decoded on the first call, mapped from the cache afterwards.

        Raises DataError when files are missing or damaged, naming them and what to do.
        """
        key = f"omniglot-{self.class_split}-{self.size}-{RESIZE_FILTER.name.lower()}-v{PIXELS_VERSION}-{split}"
        directory = cache_root(self.root)
        return cached_image_set(directory, key, self.protocol_name, split, lambda: self._decoder(split), progress)

    def download(self, progress: Progress = silent) -> None:
        """Fetch and unpack what is missing; the zip files stay, as torchvision keeps them.

        $FEWSHOT_OMNIGLOT_URL, when set, is the address of a mirror that has both files. Raises DataError.
        """
        from episodes.images.download import (  # its imports take time, and few starts need them
            fetch,
            only_one,
            unpack,
        )

        address = os.environ.get("FEWSHOT_OMNIGLOT_URL", self.url).rstrip("/")
        folder = self.location()
        with only_one(folder / "download"):
            for part in PARTS:
                if _missing(folder, tuple(found for found in characters() if found.part == part)):
                    zip_name = f"{part}.zip"
                    fetch(f"{address}/{zip_name}", folder / zip_name, md5=self.md5[part], progress=progress)
                    unpack(folder / zip_name, folder / part, part, progress)

    def check(self, progress: Progress = silent) -> list[str]:
        """Read all 32,460 drawings; a line for each kind: missing, unreadable or of the wrong size, empty."""
        wanted = [found.file(drawer) for found in characters() for drawer in range(1, DRAWERS + 1)]
        folder, kinds = self.location(), dict[str, list[str]]()
        for done, file in enumerate(wanted, start=1):
            try:
                if not (folder / file).is_file():
                    kinds.setdefault("missing", []).append(file)
                elif read_drawing(folder / file).getbbox() is None:
                    kinds.setdefault("empty, they hold no ink", []).append(file)
            except DataError as error:
                kinds.setdefault("unreadable", []).append(str(error))
            if done % 500 == 0 or done == len(wanted):
                progress("checking omniglot", done, len(wanted))
        return [
            Problem(f"{len(names)} of {len(wanted)} drawings in {folder} are {kind}", names)
            for kind, names in kinds.items()
        ]

    def _decoder(self, split: Split) -> Decoder:
        chosen = split_characters(self.class_split, split)
        rotations = ROTATIONS if self.class_split == "vinyals" else ROTATIONS[:1]
        folder = self.location()
        self._require(chosen)

        def fill(images: Images, progress: Progress) -> None:
            sheets = images.reshape(len(chosen), len(rotations), DRAWERS, self.size, self.size)

            def draw(row: int) -> None:
                for drawer in range(DRAWERS):
                    drawing = read_drawing(folder / chosen[row].file(drawer + 1))
                    for rotation, degrees in enumerate(rotations):
                        sheets[row, rotation, drawer] = np.asarray(pixels(drawing, degrees, self.size))

            with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes and resizes
                for done, _ in enumerate(pool.map(draw, range(len(chosen))), start=1):
                    progress(f"decoding omniglot {split}", done, len(chosen))

        names = tuple(class_name(character, degrees) for character in chosen for degrees in rotations)
        return Decoder(self.image_shape, np.arange(len(names) + 1, dtype=np.int64) * DRAWERS, names, fill)

    def _require(self, chosen: tuple[Character, ...]) -> None:
        """Raise DataError, naming some of them, when drawings of these characters are missing."""
        folder = self.location()
        if not self.is_present():
            raise DataError(f"Omniglot is not in {folder}: {self.how_to_get()}")
        missing = _missing(folder, chosen)
        if missing:
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            total = len(chosen) * DRAWERS
            raise DataError(f"{len(missing)} of {total} drawings are missing in {folder}: {some}: {self.how_to_get()}")


def _missing(folder: Path, chosen: tuple[Character, ...]) -> list[str]:
    """The drawings that are not there, relative to ``folder``. Lists folders: asking for each file is slower."""
    missing: list[str] = []
    for character in chosen:
        try:
            there = {path.name for path in (folder / character.part / character.name).iterdir()}
        except OSError:
            there = set()
        wanted = (character.file(drawer) for drawer in range(1, DRAWERS + 1))
        missing += [file for file in wanted if file.rpartition("/")[2] not in there]
    return missing
