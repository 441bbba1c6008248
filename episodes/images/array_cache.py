"""Decode once: one uint8 array file per split, with a checksum, memory-mapped ever after.

The array lies in ``<key>-<sha256>.npy`` and a small JSON file names it; the JSON is replaced atomically and last, so
a reader sees a whole array or none, and two processes that build the same one at once do no harm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from episodes.errors import DataError
from episodes.files import put_in_place, remove_left_behind, scratch_file, sha256_of, write_atomically
from episodes.images.decoding import Images
from episodes.images.mapped_files import map_images
from episodes.progress import Progress, silent
from episodes.types import ImageSet, Rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoder:
    """What a dataset module hands over for one split: the sizes, and how to fill the array with pixels."""

    image_shape: tuple[int, int, int]  # channels, height, width
    class_starts: Rows  # (num_classes + 1,)
    class_names: tuple[str, ...]
    fill: Callable[[Images, Progress], None]  # writes into (num_images, channels, height, width)


@dataclass(frozen=True)
class _Index:
    """What the JSON file beside an array holds."""

    array: str  # the file's name
    sha256: str
    stamp: list[int]  # size and time stamp of the file that was written
    class_starts: list[int]
    class_names: list[str]
    digest: str = ""  # of all of this but the time stamp, which may change; none in files older than it

    def own_digest(self) -> str:
        """SHA-256 of everything that says what the array holds."""
        content = [self.array, self.sha256, self.class_starts, self.class_names]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def is_damaged(self, key: str) -> bool:
        """Whether it is not what was written, or names an array that is not the one of its content."""
        return self.digest not in ("", self.own_digest()) or self.array != f"{key}-{self.sha256[:12]}.npy"


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _write_index(directory: Path, key: str, index: _Index) -> None:
    index = replace(index, digest=index.own_digest())
    write_atomically(directory / f"{key}.json", json.dumps(asdict(index)).encode())


def _read_index(directory: Path, key: str) -> _Index | None:
    """The index of a whole array; None, with a warning, where index or array is damaged, or where there is none.

    The array is read through only when its size or time stamp is not what it was.
    """
    path = directory / f"{key}.json"
    if not path.exists():
        return None
    try:
        index = _Index(**json.loads(path.read_text(encoding="utf-8")))
        if index.is_damaged(key):
            raise ValueError("the index is not what was written")
        stamp = _stamp(directory / index.array)
        if stamp == index.stamp:
            return index
        if sha256_of(directory / index.array) == index.sha256:  # copied, or written by two processes at once
            index = replace(index, stamp=stamp)
            with suppress(OSError, DataError):  # where it cannot be noted, the next start reads through again
                _write_index(directory, key, index)
            return index
    except (OSError, ValueError, TypeError):
        pass
    log.warning("%s or its array is damaged or gone: it is made anew", path)
    return None


@contextmanager
def _room_wanted(directory: Path, num_bytes: int) -> Iterator[None]:
    """What a full disk raises in here becomes a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{num_bytes / 1e6:.0f} MB are needed in {directory}: {error.strerror}. "
            "Make room there or point FEWSHOT_CACHE at another folder."
        ) from error


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Make an .npy file of that shape, its pixels yet to be filled in; the offset of the first."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(np.empty(0, np.uint8)) | {"shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset, size = file.tell(), int(np.prod(shape))
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a bus error in the middle of a fill
            os.posix_fallocate(file.fileno(), offset, max(size, 1))
        else:
            file.truncate(offset + size)
    return offset


def _build(directory: Path, key: str, decoder: Decoder, progress: Progress) -> _Index:
    """Decode into place, filling the file through memory-mapping so that memory stays small."""
    shape = (int(decoder.class_starts[-1]), *decoder.image_shape)
    num_bytes = int(np.prod(shape))
    with scratch_file(directory / f"{key}.npy") as scratch:
        with _room_wanted(directory, num_bytes):
            offset = _allocate(scratch, shape)
        pixels: np.memmap[tuple[int, ...], np.dtype[np.uint8]]
        pixels = np.memmap(scratch, np.uint8, "r+", offset=offset, shape=shape)
        decoder.fill(pixels, progress)
        pixels.flush()
        digest = sha256_of(scratch)
        array_path = directory / f"{key}-{digest[:12]}.npy"
        with _room_wanted(directory, num_bytes):
            put_in_place(scratch, array_path)
            index = _Index(
                array_path.name, digest, _stamp(array_path), decoder.class_starts.tolist(), list(decoder.class_names)
            )
            try:
                _write_index(directory, key, index)
            except OSError:
                array_path.unlink(missing_ok=True)  # nobody would find it
                raise
    return index


def cached_image_set(
    directory: Path,
    key: str,
    dataset: str,
    split: str,
    make_decoder: Callable[[], Decoder],
    progress: Progress = silent,
) -> ImageSet:
    """The image set filed under ``key``, decoded now if it was not before.

    ``key`` must change whenever the pixels would: it names the data set, the preprocessing and its version, and where
    the source is the user's own, a fingerprint of the source. Raises DataError when there is no room to write.
    """
    if not re.fullmatch(r"[\w.@-]+", key):
        raise ValueError(f"cache key {key!r} must be usable as a file name")
    remove_left_behind(directory)
    index = _read_index(directory, key) or _build(directory, key, make_decoder(), progress)
    return ImageSet(
        map_images(directory / index.array),
        np.asarray(index.class_starts, np.int64),
        tuple(index.class_names),
        dataset,
        split,
        index.sha256,
    )
