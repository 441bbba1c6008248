"""Files that are whole or absent: written under another name in the same folder, then renamed. No torch in here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from episodes.errors import DataError


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
