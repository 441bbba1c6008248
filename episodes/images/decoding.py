"""From picture files to pixels: decode in threads, bring to one shape, name those that cannot be read."""

from __future__ import annotations

import io
import os
import stat
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from episodes.errors import DataError, first_few
from episodes.images.zip_files import UNREADABLE, read_member
from episodes.progress import Progress

Images = npt.NDArray[np.uint8]
RESIZE_FILTER = Image.Resampling.BILINEAR  # Pillow's, which averages over the source pixels when it makes smaller
RESIZE_FILTER_NAME = "bilinear"
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is looked for in a file; Pillow would open 40 more by their content, PostScript by running another program."""
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
MOST_BYTES = 256 << 20  # of one picture file
MOST_PIXELS = 64_000_000  # of one picture once it is decoded: on the way to RGB it takes 20 bytes for each
_LARGE = 4_000_000  # pixels of a picture that not every thread may hold at once
_large_at_once = threading.BoundedSemaphore(2)
_CHUNK = 64  # pictures a thread takes at once


@runtime_checkable
class Picture(Protocol):
    """One picture, wherever it lies."""

    @property
    def name(self) -> str:
        """What a user calls it: its path below the data folder."""

    def open(self) -> Image.Image:
        """The picture; its pixels may not be decoded yet. Raises whatever reading raises."""


class _EmptyError(ValueError):
    """A picture file without a byte in it."""


def opened(content: bytes) -> Image.Image:
    """The picture of these bytes, of one of the ``FORMATS``."""
    if not content:
        raise _EmptyError
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _refuse_large(num_bytes: int) -> None:
    if num_bytes > MOST_BYTES:
        raise ValueError(f"{num_bytes:,} bytes, more than the {MOST_BYTES:,} that a picture may have")


@dataclass(frozen=True)
class FilePicture:
    """A picture in a file of its own."""

    path: str
    name: str

    def open(self) -> Image.Image:
        status = os.stat(self.path)  # noqa: PTH116 - a Path for each of 60,000 pictures takes a second
        if not stat.S_ISREG(status.st_mode):  # a pipe would never end
            raise ValueError("no regular file")
        _refuse_large(status.st_size)
        with open(self.path, "rb") as file:  # noqa: PTH123
            return opened(file.read())


class PictureArchive:
    """A zip file that several threads read from."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except UNREADABLE as error:
            raise DataError(f"{path} is not a whole zip file ({error}): delete it and get it again") from None
        self._lock = threading.Lock()  # zipfile counts its readers without one

    def pictures(self) -> dict[str, ZipPicture]:
        """The pictures of the archive by their file name, without folders."""
        files = (member for member in self._zip.namelist() if Path(member).suffix.lower() in PICTURE_SUFFIXES)
        return {Path(member).name: ZipPicture(self, member) for member in files}

    def read(self, member: str, most: int = MOST_BYTES) -> bytes:
        with self._lock:
            return read_member(self._zip, member, most)


@dataclass(frozen=True)
class ZipPicture:
    """A picture packed in a zip file."""

    archive: PictureArchive
    name: str

    def open(self) -> Image.Image:
        return opened(self.archive.read(self.name))


@dataclass(frozen=True, eq=False)
class ArrayPicture:
    """A picture that is decoded already, uint8 (height, width, 3)."""

    pixels: Images
    name: str

    def open(self) -> Image.Image:
        return Image.fromarray(self.pixels)


@dataclass(frozen=True)
class BytesPicture:
    """A picture file that was read already."""

    content: bytes
    name: str

    def open(self) -> Image.Image:
        _refuse_large(len(self.content))
        return opened(self.content)


@dataclass(frozen=True)
class MissingPicture:
    """A picture that a list names and nobody has."""

    name: str

    def open(self) -> Image.Image:
        raise FileNotFoundError(self.name)


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes pixels (channels, size, size): upright, cropped or not, resized, in color or gray."""

    channels: int
    size: int
    center_crop: bool

    def __call__(self, image: Image.Image) -> Images:
        if self.center_crop:  # photos are large: let the JPEG decoder leave out detail far below the final pixels
            image.draft(None, (4 * self.size, 4 * self.size))
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height}, more than {MOST_PIXELS:,} pixels")
        with _large_at_once if pixels > _LARGE else nullcontext():
            return self._prepared(image)

    def _prepared(self, image: Image.Image) -> Images:
        ImageOps.exif_transpose(image, in_place=True)
        image = in_mode(image, "L" if self.channels == 1 else "RGB")
        if self.center_crop and image.width != image.height:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), RESIZE_FILTER)
        return np.asarray(image).reshape(self.size, self.size, self.channels).transpose(2, 0, 1)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """8 bits per channel, of 16 the upper ones. Transparent pixels show white, the paper of most drawings with them.

    Raises ValueError for 32 bits per pixel and for pictures that use 12 of 16: what is white in them nobody says.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        numbers = np.asarray(image)  # which Pillow would clip at 255 instead of scaling
        if 255 < numbers.max() < 4096:
            raise ValueError("12 bits a pixel in a file of 16, nearly black: scale it to 8 or to all 16 bits")
        image = Image.fromarray((numbers >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel: save it with 8 or 16")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


@dataclass(frozen=True)
class UnreadableImage:
    """A picture that could not be decoded: missing, empty or undecodable, and then why."""

    name: str
    kind: Literal["missing", "empty", "undecodable"]
    reason: str


class Problem(str):
    """A line that says what is wrong, and ``names`` of all that is meant, of which the line shows the first few."""

    what: str
    names: Sequence[str]

    def __new__(cls, what: str, names: Sequence[str]) -> Problem:
        made = super().__new__(cls, f"{what}: {first_few(names)}")
        made.what, made.names = what, names
        return made


def unreadable_lines(unreadable: Sequence[UnreadableImage]) -> list[Problem]:
    """A line for each kind: how many images, and the names of the first few."""
    lines = []
    for kind in ("missing", "empty", "undecodable"):
        if found := [image for image in unreadable if image.kind == kind]:
            names = [f"{image.name} ({image.reason})" if image.reason else image.name for image in found]
            lines.append(Problem(f"{len(found)} {kind} image{'s' * (len(found) > 1)}", names))
    return lines


def _unreadable(picture: Picture, error: Exception) -> UnreadableImage:
    if isinstance(error, FileNotFoundError):
        return UnreadableImage(picture.name, "missing", "")
    if isinstance(error, _EmptyError):
        return UnreadableImage(picture.name, "empty", "")
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImage(picture.name, "undecodable", "no known image format")
    return UnreadableImage(picture.name, "undecodable", " ".join(str(error).split())[:80] or type(error).__name__)


def _decode_chunk(
    pictures: Sequence[Picture], pixels: Images | dict[int, Any] | None, preparation: Preparation, start: int
) -> list[UnreadableImage]:
    unreadable = []
    for row, picture in enumerate(pictures[start : start + _CHUNK], start):
        try:
            prepared = preparation(picture.open())
            if pixels is not None:
                pixels[row] = prepared
        except Exception as error:  # Pillow's decoders raise all kinds of errors on damaged files
            unreadable.append(_unreadable(picture, error))
    return unreadable


def decode_pictures(
    pictures: Sequence[Picture],
    pixels: Images | dict[int, Any] | None,
    preparation: Preparation,
    what: str,
    progress: Progress,
) -> list[UnreadableImage]:
    """Decode all into ``pixels`` (num_images, channels, height, width), or only to see whether it works, where None.

    Pillow lets go of Python's global lock while it decodes, so threads use every core without copying pixels between
    processes. Returns those that cannot be read, in order.
    """
    unreadable: list[UnreadableImage] = []
    decode = partial(_decode_chunk, pictures, pixels, preparation)
    pool = ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1))
    try:
        for number, found in enumerate(pool.map(decode, range(0, len(pictures), _CHUNK)), 1):
            unreadable += found
            progress(what, min(number * _CHUNK, len(pictures)), len(pictures))
    finally:
        pool.shutdown(cancel_futures=True)  # else Ctrl-C would wait for every picture
    return unreadable


def fill_or_raise(
    pictures: Sequence[Picture], preparation: Preparation, what: str, advice: str, pixels: Images, progress: Progress
) -> None:
    """Decode all into ``pixels``. Raises DataError, in one line, that names those that cannot be read."""
    if unreadable := decode_pictures(pictures, pixels, preparation, what, progress):
        raise DataError(f"{what}: {'; '.join(unreadable_lines(unreadable))}. {advice}")
