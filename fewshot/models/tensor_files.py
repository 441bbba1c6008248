"""Weights and training states on disk, as safetensors: loading executes no code, and a write is whole or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from episodes.errors import UserError
from episodes.files import write_atomically


class CheckpointError(UserError):
    """A checkpoint that is absent, damaged or not ours. The message says what to do."""


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
