"""A folder for each training: what its checkpoint is called, and one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path

from filelock import FileLock, Timeout

from episodes.errors import UserError
from episodes.files import naming, remove_left_behind

CHECKPOINT = "checkpoint.safetensors"
"""What every training's file is called, in a folder named for the training."""
LOG = "training.json"
"""Beside it, where nothing was tested: what a record would say of the training."""


class BusyError(UserError):
    """Another process is training into this folder."""


def training_name(checkpoint: Path) -> str:
    """The training that a checkpoint is of: the name of its folder, or of the file where it was published."""
    return checkpoint.parent.name if checkpoint.name == CHECKPOINT else checkpoint.stem


@contextmanager
def sole_trainer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one training at a time. Raises BusyError at once when another process holds it.

    The lock ends with the process, so a killed training leaves nothing to clean up but the half of a file that it was
    writing, which the next one removes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, owner = folder / ".lock", ""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        with suppress(OSError):  # Windows lets nobody read what is locked
            owner = path.read_text()
        raise BusyError(
            f"this very training is already running (process {owner or 'unknown'}, folder {folder}): "
            "wait for it, or give this one another --out or --seed"
        ) from error
    try:
        with naming(path):
            path.write_text(str(getpid()))
        remove_left_behind(folder)
        yield
    finally:
        lock.release()
