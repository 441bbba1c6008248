"""Distances (smaller is nearer) and similarities (larger is nearer) of embeddings, and the nearest class mean."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Invariance = Literal["offset", "scale"]
"""What a rule does not mind: one vector added to all embeddings, or one positive factor on all of them."""
UNMOVED: frozenset[Invariance] = frozenset({"offset", "scale"})

_ROWS_AT_ONCE = 4096
_LARGEST = 20  # binary exponent of the largest number of a conditioned table: squares then stay far inside float32


def squared_euclidean(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """``||left_i - right_j||^2``, never below zero, with a finite gradient everywhere (no square root).

    Both sides are first moved so that the first row of ``right`` is 0. No distance depends on it, and where all vectors
    lie far from zero the squares would otherwise cancel and leave no digit; where all are equal, all distances are.
    """
    origin = right[..., :1, :].detach()
    left, right = left - origin, right - origin
    cross = _products(left, right)
    squares = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * cross).clamp_min(0)


def root(squares: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The root of each square, 1e-6 at the least: at 0 its slope is infinite."""
    return squares.clamp_min(1e-12).sqrt()


def cosine_similarity(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """The cosine of the angle, -1 to 1; 0 where a vector has no length."""
    return _products(unit_length(left), unit_length(right))


def unit_length(vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """The vectors at length 1, however long or short they are; 0 where a vector has no length.

    A power of two, which takes no digit away, brings each near 1 first: its square neither overflows nor vanishes.
    """
    exponent = torch.frexp(vectors.detach().abs().amax(-1, keepdim=True)).exponent
    return functional.normalize(times_power_of_two(vectors, -exponent), dim=-1)


def times_power_of_two(numbers: Tensor, exponent: Tensor) -> Tensor:
    """``numbers * 2^exponent``, in two steps, since the power itself may be out of range."""
    half = exponent // 2
    return numbers * torch.exp2(half.to(numbers.dtype)) * torch.exp2((exponent - half).to(numbers.dtype))


def conditioned(
    table: Float[Tensor, "num_images *feature"], invariant_to: frozenset[Invariance], point: Tensor | None = None
) -> tuple[Float[Tensor, "num_images *feature"], Tensor | None]:
    """The table in single precision as it is read best by a rule that does not mind an offset, a scale, or either.

    An offset is taken away in double precision (the mean of the rows), a scale by a power of two, which is exact. So
    numbers far from zero keep their digits, and very large and small ones a square; others keep their scale.
    ``point`` is moved with the rows.
    """
    if not invariant_to:
        return table.float(), None if point is None else point.float()
    center = table.mean(0, dtype=torch.float64) if "offset" in invariant_to else table.new_zeros(1, dtype=torch.float64)
    exponent = torch.zeros((), dtype=torch.int32, device=table.device)
    if "scale" in invariant_to:
        reach = torch.maximum(table.amax(0).double() - center, center - table.amin(0).double()).amax()
        found = torch.frexp(reach).exponent
        out_of_reach = (reach > 0) & (found.abs() > _LARGEST)  # else the scores keep their scale
        exponent = torch.where(out_of_reach, _LARGEST - found, exponent)

    def brought(rows: Tensor) -> Tensor:
        return times_power_of_two(rows.double() - center, exponent).float()

    made = torch.empty(table.shape, dtype=torch.float32, device=table.device)
    for kept, rows in zip(torch.split(made, _ROWS_AT_ONCE), torch.split(table, _ROWS_AT_ONCE), strict=True):
        kept.copy_(brought(rows))
    return made, None if point is None else brought(point)


def nearest_mean_logits(
    support: Float[Tensor, "*batch way shot dim"], query: Float[Tensor, "*batch queries dim"]
) -> Float[Tensor, "*batch queries way"]:
    """Minus the squared distance to the mean of each class (Snell et al. 2017, eq. 1-2)."""
    return -squared_euclidean(query, support.mean(dim=-2))


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """The context for arithmetic on embeddings when the encoder runs in bfloat16: the difference of two large squares
    would lose its digits there."""
    return torch.autocast(like.device.type, enabled=False)


def _products(left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]) -> Float[Tensor, "*batch n m"]:
    with full_precision(left):
        return left @ right.transpose(-1, -2)
