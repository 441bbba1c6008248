"""A folder for each training: what its checkpoint is called, and one process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from episodes.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no flock; two runs at once are then not noticed
    fcntl = None  # type: ignore[assignment]


CHECKPOINT = "checkpoint.safetensors"
"""What every training's file is called, in a folder named for the training."""


class BusyError(UserError):
    """Another process is training into this folder."""


def training_name(checkpoint: Path) -> str:
    """The training that a checkpoint is of: the name of its folder, or of the file where it was published."""
    return checkpoint.parent.name if checkpoint.name == CHECKPOINT else checkpoint.stem


@contextlib.contextmanager
def sole_trainer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one training at a time. Raises BusyError at once when another process holds it.

    The lock ends with the process, so a killed training leaves nothing to clean up but the half of a file that it was
    writing, which the next one removes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise BusyError(
                    f"this very training is already running (process {owner}, folder {folder}): "
                    "wait for it, or give this one another --out or --seed"
                ) from error
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            for half in folder.glob(".partial-*"):
                half.unlink(missing_ok=True)
        yield
