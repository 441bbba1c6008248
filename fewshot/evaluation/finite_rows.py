"""Embeddings that were made elsewhere, whatever holds them, as a table of numbers that can be computed with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from episodes.errors import UserError

_WIDE = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)


def finite_rows(rows: npt.ArrayLike | Tensor, name: str, wanted: int | None) -> Tensor:
    """Rows of finite numbers, (num_rows, dim): in single precision, or in double where that would lose digits.

    Raises UserError, which calls them ``name``, for anything else, and where they are not as many as are ``wanted``.
    """
    table = rows if isinstance(rows, Tensor) else _of_numbers(rows, name)
    if table.is_complex():
        raise UserError(f"{name} holds complex numbers: give real ones")
    table = table.to(torch.float64 if table.dtype in _WIDE else torch.float32)
    if table.ndim != 2 or 0 in table.shape or wanted not in (None, len(table)):
        number = "num_images" if wanted is None else f"{wanted:,}"
        raise UserError(f"{name} must be ({number}, dim), a row for each image, not {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()):
        raise UserError(f"{name} holds numbers that are not finite")
    return table


def _of_numbers(rows: npt.ArrayLike, name: str) -> Tensor:
    """An array as PyTorch takes it: in the machine's order of bytes, without steps backwards, of 8 bytes at most."""
    try:
        array = np.asarray(rows)
    except ValueError as error:  # rows of several lengths
        raise UserError(f"{name} is no table of numbers: {error}") from error
    if array.dtype.kind not in "biufc":
        raise UserError(f"{name} holds {array.dtype}: give a table of numbers, (num_images, dim)")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
