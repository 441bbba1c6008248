"""Where files lie, and how they are written: whole or not at all, renamed only when they are complete. No torch."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import platformdirs

from episodes.errors import DataError

try:
    import fcntl
except ImportError:  # Windows, which has no such locks: nothing is swept there
    fcntl = None  # type: ignore[assignment]

_PARTIAL = ".partial-"


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
def naming(path: Path) -> Iterator[None]:
    """Errors of writing into an open file do not say which: here they do."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Wait until nobody else, in this process or another, writes several files of ``folder`` that belong together.

    What is locked is the folder around it, which is there already; nothing is left of it. Windows knows no such lock.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(next(path for path in folder.absolute().parents if path.is_dir()), os.O_RDONLY)
    try:
        with suppress(OSError):  # some network folders know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def scratch_file(target: Path) -> Iterator[Path]:
    """An empty file beside ``target`` to write into and then rename; what is left of it at the end is removed.

    While it is open here it is locked, and so told from those that a killed process left: these are removed first.
    """
    directory = target.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_left_behind(directory)
        path, handle = _locked_file(directory)
    except OSError as error:
        raise DataError(f"cannot write into {directory}: {error.strerror}") from error
    try:
        path.chmod(0o644)
        with naming(target):
            yield path
    finally:
        if handle is not None:
            os.close(handle)
        path.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Before long work: raises DataError where its file could not be put in place at the end. Leaves nothing behind."""
    if target.is_dir():
        raise DataError(f"cannot write {target}: it is a folder")
    missing = [folder for folder in target.parents if not folder.exists()]
    with scratch_file(target):
        pass
    for folder in missing:
        with suppress(OSError):
            folder.rmdir()


def _locked_file(directory: Path) -> tuple[Path, int | None]:
    """A new file, and the handle that keeps it locked where there are such locks."""
    while True:
        handle, name = tempfile.mkstemp(dir=directory, prefix=_PARTIAL)
        if fcntl is None:
            os.close(handle)
            return Path(name), None
        with suppress(OSError):  # some network folders know no locks; nothing is swept there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(name).exists():  # else it was swept away before it was locked
            return Path(name), handle
        os.close(handle)


def remove_left_behind(directory: Path) -> None:
    """Remove the half-written files in a folder whose writers were killed; those of living ones are locked."""
    for path in directory.glob(f"{_PARTIAL}*"):
        with suppress(OSError), path.open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


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
            scratch = stack.enter_context(scratch_file(target))
            scratch.write_bytes(content)
            _sync(scratch)  # a full disk may be noticed here, before any file has got its name
            finished.append((scratch, target))
        for scratch, target in finished:
            scratch.replace(target)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
