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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from episodes.errors import DataError
from episodes.files import put_in_place, scratch_file, write_atomically
from episodes.types import ImageSet, Rows

log = logging.getLogger(__name__)

Images = npt.NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; the command line draws it."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of somebody who does not want to see any."""


@dataclass(frozen=True)
class Decoder:
    """What a dataset module hands over for one split: the sizes, and how to fill the array with pixels."""

    image_shape: tuple[int, int, int]  # channels, height, width
    class_starts: Rows  # (num_classes + 1,)
    class_names: tuple[str, ...]
    fill: Callable[[Images, Progress], None]  # writes into (num_images, channels, height, width)


def data_root(chosen: Path | str | None = None) -> Path:
    """Where data sets lie: the argument, else $FEWSHOT_DATA, else the user's data folder."""
    chosen = chosen or os.environ.get("FEWSHOT_DATA")
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_data_path("fewshot")


def cache_root(root: Path) -> Path:
    """Where decoded arrays lie: $FEWSHOT_CACHE, else beside the data, else (read-only data) the user's cache folder."""
    if chosen := os.environ.get("FEWSHOT_CACHE"):
        return Path(chosen).expanduser().absolute()
    if root.is_dir() and not os.access(root, os.W_OK):
        return platformdirs.user_cache_path("fewshot")
    return root / "cache"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _decode(array_path: Path, decoder: Decoder, progress: Progress) -> None:
    """Write the .npy file at ``array_path``, filling it in place so that memory stays small."""
    shape = (int(decoder.class_starts[-1]), *decoder.image_shape)
    with array_path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(np.empty(0, np.uint8)) | {"shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset, size = file.tell(), int(np.prod(shape))
        try:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a bus error in the middle of a fill
                os.posix_fallocate(file.fileno(), offset, max(size, 1))
            else:
                file.truncate(offset + size)
        except OSError as error:
            raise DataError(
                f"{size / 1e6:.0f} MB are needed in {array_path.parent}: {error.strerror}. "
                "Make room there or point FEWSHOT_CACHE at another folder."
            ) from error
    pixels: np.memmap[tuple[int, ...], np.dtype[np.uint8]]
    pixels = np.memmap(array_path, np.uint8, "r+", offset=offset, shape=shape)
    decoder.fill(pixels, progress)
    pixels.flush()


def _intact(index: dict[str, object], array_path: Path) -> bool:
    """Whether the array is the one that was written; reads it through only when its size or time stamp moved."""
    if not array_path.is_file():
        return False
    return _stamp(array_path) == index["stamp"] or sha256_of(array_path) == index["sha256"]


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
    index_path = directory / f"{key}.json"
    try:
        index = json.loads(index_path.read_text())
        array_path = directory / index["array"]
        if not _intact(index, array_path):
            log.warning("%s is damaged or gone and is made anew", array_path)
            index = None
    except (OSError, ValueError, KeyError):
        index = None
    if index is None:
        decoder = make_decoder()
        with scratch_file(directory) as scratch:
            _decode(scratch, decoder, progress)
            digest = sha256_of(scratch)
            array_path = directory / f"{key}-{digest[:12]}.npy"
            put_in_place(scratch, array_path)
        index = {
            "array": array_path.name,
            "sha256": digest,
            "stamp": _stamp(array_path),
            "class_starts": decoder.class_starts.tolist(),
            "class_names": list(decoder.class_names),
        }
        write_atomically(index_path, json.dumps(index).encode())
    images = np.load(array_path, mmap_mode="c")  # copy-on-write: PyTorch wants writable memory, the file stays as it is
    return ImageSet(
        torch.from_numpy(images),
        np.asarray(index["class_starts"], np.int64),
        tuple(index["class_names"]),
        dataset,
        split,
        str(index["sha256"]),
    )
