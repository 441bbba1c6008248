"""Distances (smaller is nearer) and similarities (larger is nearer) between two sets of embeddings."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def squared_euclidean(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """``||left_i - right_j||^2``, never below zero, with a finite gradient everywhere (no square root)."""
    cross = left @ right.transpose(-1, -2)
    squares = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * cross).clamp_min(0)


def cosine_similarity(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """The cosine of the angle, -1 to 1; 0 where a vector has no length."""
    return functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).transpose(-1, -2)
