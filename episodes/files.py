"""Where files lie, and how they are written: whole or not at all, renamed only when they are complete. No torch."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import platformdirs

from episodes.errors import DataError


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


@contextmanager
def scratch_file(directory: Path) -> Iterator[Path]:
    """An empty file in ``directory`` to write into and then rename; what is left of it at the end is removed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=directory, prefix=".partial-")
    except OSError as error:
        raise DataError(f"cannot write into {directory}: {error.strerror}") from error
    os.close(handle)
    path = Path(name)
    path.chmod(0o644)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def put_in_place(written: Path, target: Path) -> None:
    """Rename a finished file to its name, its bytes on the disk before its name is."""
    _sync(written)
    written.replace(target)


def write_atomically(target: Path, content: bytes) -> None:
    """Write a whole file or none of it. Raises OSError when the disk is full, the former content untouched."""
    write_all({target: content})


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write all of these files, in their order, or none. Raises OSError when the disk is full, nothing changed."""
    with ExitStack() as stack:
        finished = []
        for target, content in contents.items():
            scratch = stack.enter_context(scratch_file(target.parent))
            scratch.write_bytes(content)
            _sync(scratch)  # a full disk may be noticed here, before any file has got its name
            finished.append((scratch, target))
        for scratch, target in finished:
            scratch.replace(target)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
