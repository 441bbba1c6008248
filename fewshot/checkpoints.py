"""Weights and training states on disk, as safetensors: loading executes no code, and a write is whole or nothing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from episodes.errors import UserError
from episodes.files import write_atomically

try:
    import fcntl
except ImportError:  # Windows has no flock; two runs at once are then not noticed
    fcntl = None  # type: ignore[assignment]


CHECKPOINT = "checkpoint.safetensors"
"""What every training's file is called, in a folder named for the training."""


class CheckpointError(UserError):
    """A checkpoint that is absent, damaged or not ours. The message says what to do."""


class BusyError(UserError):
    """Another process is training into this folder."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata atomically. Raises CheckpointError when the disk is full."""
    try:
        write_atomically(path, tensors_bytes(tensors, metadata))
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; what was saved before is untouched. "
            "Make room (or choose another --out) and run the same command again: it goes on from there."
        ) from error


def tensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """What ``save_tensors`` writes."""
    compact = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(compact, {"fewshot": json.dumps(metadata)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file written by ``save_tensors``. Raises CheckpointError for anything else."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}: `fewshot run` writes one and prints its path")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        return tensors, dict(json.loads(metadata["fewshot"]))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of fewshot, or is damaged: train again with --fresh"
        ) from error


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
