"""Distances (smaller is nearer) and similarities (larger is nearer) between two sets of embeddings."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def squared_euclidean(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """``||left_i - right_j||^2``, never below zero, with a finite gradient everywhere (no square root)."""
    cross = _products(left, right)
    squares = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * cross).clamp_min(0)


def cosine_similarity(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """The cosine of the angle, -1 to 1; 0 where a vector has no length."""
    return _products(functional.normalize(left, dim=-1), functional.normalize(right, dim=-1))


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """The context for arithmetic on embeddings when the encoder runs in bfloat16: the difference of two large squares
    would lose its digits there."""
    return torch.autocast(like.device.type, enabled=False)


def _products(left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]) -> Float[Tensor, "*batch n m"]:
    with full_precision(left):
        return left @ right.transpose(-1, -2)
