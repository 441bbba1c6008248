"""Weights and training states on disk, as safetensors: loading executes no code, and a write is whole or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from episodes.errors import UserError
from episodes.files import write_atomically

_PICKLED = (b"PK", b"\x80\x02", b"\x80\x04")  # how files of torch.save begin: a zip file, or of old a pickle

_BORROWS = "borrows"  # in the metadata of a file that has its tensors in another: which, their names, their digest
_HALF = "half"  # in the metadata of a file whose larger tensors are kept in float16


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
    """What ``save_tensors`` writes: beside the content its digest, so that one changed bit is seen."""
    compact = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    stated = json.dumps(metadata)
    return safetensors.torch.save(compact, {"fewshot": stated, "sha256": digest_of(compact, stated)})


def half_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """A file of half the size, whose tensors ``load_tensors`` gives in float32, rounded to float16.

    What has one dimension (biases, statistics of a normalization) is kept whole: it is small, and its range is wide.
    """
    rounded = {name: t.half() if t.dtype == torch.float32 and t.ndim > 1 else t for name, t in tensors.items()}
    whole = {name: t if rounded[name].isfinite().all() else tensors[name] for name, t in rounded.items()}
    return tensors_bytes(whole, {**metadata, _HALF: True})


def is_half(path: Path) -> bool:
    """Whether the tensors of a checkpoint, or of the one that it borrows them from, are kept in half precision."""
    _, metadata = _stored(path)
    lender = metadata.get(_BORROWS)
    return is_half(path.with_name(lender[0])) if lender else bool(metadata.get(_HALF))


def borrowing_bytes(lender: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes | None:
    """A file of no tensors, which ``load_tensors`` reads with those of ``lender`` beside it; None if it lacks one."""
    held, _ = _read(lender)
    if any(name not in held or not torch.equal(held[name], tensor) for name, tensor in tensors.items()):
        return None
    return tensors_bytes({}, {**metadata, _BORROWS: [lender.name, sorted(tensors), digest_of(tensors)]})


def digest_of(tensors: Mapping[str, Tensor], stated: str = "") -> str:
    """SHA-256 of metadata and tensors: names, types, shapes, numbers."""
    sha = hashlib.sha256(stated.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def carries_digest(path: Path) -> bool:
    """Whether damage to the file would be seen; files written before digests were carry none."""
    with safetensors.safe_open(path, "pt") as file:
        return "sha256" in (file.metadata() or {})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file written by ``save_tensors``. Raises CheckpointError for anything else.

    A file that carries no digest, because it is older than digests are, is read unchecked.
    """
    tensors, metadata = _read(path)
    if _BORROWS not in metadata:
        return tensors, metadata
    try:
        lender, names, digest = metadata.pop(_BORROWS)
        beside, wanted = path.with_name(lender), set(names)
    except (TypeError, ValueError) as error:
        raise _not_ours(path) from error
    if not beside.is_file():
        raise CheckpointError(f"{path} has its weights in {lender}, which is not beside it: copy both")
    held, _ = _read(beside)
    tensors = {name: tensor for name, tensor in held.items() if name in wanted}
    if digest_of(tensors) != digest:
        raise CheckpointError(f"{path} has its weights in {lender} beside it, which holds others now: copy both anew")
    return tensors, metadata


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = _stored(path)
    if metadata.pop(_HALF, False):
        tensors = {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}
    return tensors, metadata


def _stored(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}: `fewshot run` writes one and prints its path")
    with path.open("rb") as begun:
        if begun.read(2) in _PICKLED:
            raise CheckpointError(
                f"{path} holds weights as torch.save writes them, and what is read here is the checkpoint.safetensors "
                "of a training by `fewshot run`: give one of these"
            )
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        stated = metadata.pop("fewshot")
        said = dict(json.loads(stated))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _not_ours(path) from error
    if metadata and metadata != {"sha256": digest_of(tensors, stated)}:
        raise CheckpointError(
            f"{path} is damaged: its content is not that of its digest. Copy it anew from where it is whole, or train "
            "again with --fresh"
        )
    return tensors, said


def _not_ours(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of fewshot, or is damaged: give a checkpoint.safetensors that `fewshot run` "
        "wrote; if this is one, copy it anew from where it is whole, or train again with --fresh"
    )
