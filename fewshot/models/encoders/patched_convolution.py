"""The first block of an encoder in training, on images of one channel: the same numbers for half of the work.

Convolution, batch norm and pooling of the first block take a third of a training step and a twentieth of its
arithmetic: their maps are the largest, and every number of them is written and read many times. Three facts spare it.

A pooling window of four places sees a patch of 4x4 pixels, so one matrix product makes all four from patches, and a
patch without ink, half of those of a drawing, makes zeros. The statistics of a convolution follow from the moments of
its input: the mean of ``w x`` is ``w E[x]``, its mean square ``w E[x x'] w'``; so the whole map is never looked at.
And batch norm is monotone, rising once the sign of its weight is moved into the kernel, so it may follow the pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FEWEST_WINDOWS = 16_384  # of pooling, 84 images of 28x28: fewer are done before patches are made
_ROWS_TOGETHER = 4096  # matrix products come in few sizes: the library behind them prepares anew for each
_PARTS = 64  # which pooling shares out among the cores


def suits_patches(x: Float[Tensor, "n c h w"], convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Whether ``pooled_on_patches`` can take the place of convolution, batch norm and pooling, and is quicker.

    Only on a processor: a GPU does not lose its time in this block, and would have to be asked how many rows have ink.
    """
    sides = [side + 2 * padding_of(convolution) - 2 for side in x.shape[2:]]
    return (
        x.shape[1] == 1
        and x.device.type == "cpu"
        and not x.requires_grad
        and not torch.compiler.is_compiling()
        and type(norm) is nn.BatchNorm2d
        and norm.running_mean is not None
        and convolution.kernel_size == (3, 3)
        and all(side % 2 == 0 for side in sides)
        and len(x) * sides[0] * sides[1] >= 4 * _FEWEST_WINDOWS
    )


def pooled_on_patches(
    x: Float[Tensor, "n 1 h w"], convolution: nn.Conv2d, norm: nn.BatchNorm2d
) -> Float[Tensor, "n d h2 w2"]:
    """``max_pool2d(norm(convolution(x)), 2)`` of a 3x3 convolution without bias, with the statistics of the batch.

    Works in the precision of autocast, with moments and statistics in float32 or better, and moves the running
    statistics as batch norm does. Gradients reach the weights, not ``x``.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    with torch.autocast("cpu", enabled=False):
        patches = _patches(x.to(dtype), padding_of(convolution))  # (n, h2, w2, 16)
        rows = patches.flatten(0, 2)
        inked = _inked_rows(rows)
        seen = rows.index_select(0, inked)
        sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0).to(norm.weight)
        kernels = _kernels_of_places((convolution.weight * sign.view(-1, 1, 1, 1)).to(dtype))  # (4, d, 16)
        mean, variance = _statistics(seen, kernels, 4 * len(rows))
        _track(norm, sign * mean.detach(), variance.detach(), 4 * len(rows))
        pooled = _largest_products(seen, kernels.flatten(0, 1), inked, len(rows))
        maps = torch.unflatten(pooled, 0, patches.shape[:3]).permute(0, 3, 1, 2)
        return _normalized(maps, mean, variance, norm.weight * sign, norm.bias, norm.eps)


def padding_of(convolution: nn.Conv2d) -> int:
    """On every side of the image."""
    padding = convolution.padding[0]
    assert isinstance(padding, int)
    return padding


def _patches(x: Float[Tensor, "n 1 h w"], padding: int) -> Float[Tensor, "n h2 w2 16"]:
    """The 4x4 pixels that every pooling window sees."""
    padded = functional.pad(x[:, 0], [padding] * 4)
    return padded.unfold(1, 4, 2).unfold(2, 4, 2).flatten(3)


def _inked_rows(rows: Float[Tensor, "m 16"]) -> Int64[Tensor, " k"]:
    """The rows that are not all zero, and as many others as make their number a round one, or all."""
    words = rows.view(torch.int64)  # several numbers in one: fewer to look at
    has_ink = words[:, 0].ne(0)
    for column in words[:, 1:].unbind(1):
        has_ink |= column.ne(0)
    inked = has_ink.nonzero().flatten()
    wanted = max(1, math.ceil(len(inked) / _ROWS_TOGETHER)) * _ROWS_TOGETHER
    if wanted >= len(rows):
        return torch.arange(len(rows))
    return torch.cat([inked, has_ink.logical_not().nonzero().flatten()[: wanted - len(inked)]])


def _kernels_of_places(weight: Float[Tensor, "d 1 3 3"]) -> Float[Tensor, "4 d 16"]:
    """The kernel laid into 4x4 pixels at each of the four places of a pooling window."""
    corners = [(row, column) for row in (0, 1) for column in (0, 1)]
    laid = [functional.pad(weight, (column, 1 - column, row, 1 - row)) for row, column in corners]
    return torch.stack(laid).flatten(2)


def _statistics(
    seen: Float[Tensor, "k 16"], kernels: Float[Tensor, "4 d 16"], count: int
) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and variance of the convolution over all ``count`` places, those of the rows left out being zero."""
    wide = seen.to(torch.promote_types(seen.dtype, torch.float32))
    first, second = wide.sum(0).double() / count, (wide.T @ wide).double() / count
    of_places = kernels.double()
    mean = (of_places @ first).sum(0)
    variance = ((of_places @ second) * of_places).sum((0, 2)) - mean.square()
    return mean.to(wide.dtype), variance.clamp_min(0).to(wide.dtype)


def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics, the variance without bias, as batch norm does."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
    norm.running_var.lerp_((variance * (count / (count - 1))).to(norm.running_var), norm.momentum)
    norm.num_batches_tracked.add_(1)


class _LargestProducts(torch.autograd.Function):
    """Of every row and channel the largest of its products with four kernels; zero for the rows that were not seen."""

    @staticmethod
    def forward(
        ctx: Any,
        seen: Float[Tensor, "k 16"],
        kernels: Float[Tensor, "four_d 16"],
        inked: Int64[Tensor, " k"],
        num_rows: int,
    ) -> Float[Tensor, "num_rows d"]:
        products = _in_parts(seen @ kernels.T, 4)
        pooled, places = functional.max_pool2d(products, (4, 1), return_indices=True)
        ctx.save_for_backward(seen, inked, products, places)
        rows = pooled.permute(0, 2, 3, 1).flatten(0, 2)
        where = torch.full((num_rows,), len(seen)).index_copy_(0, inked, torch.arange(len(seen)))
        return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).index_select(0, where)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "num_rows d"]) -> tuple[Tensor | None, ...]:
        seen, inked, products, places = ctx.saved_tensors
        of_pooled = _in_parts(gradient.index_select(0, inked), 1)
        of_products = torch.ops.aten.max_pool2d_with_indices_backward(
            of_pooled, products, [4, 1], [4, 1], [0, 0], [1, 1], False, places
        )
        rows = of_products.permute(0, 2, 3, 1).reshape(len(seen), -1)
        return None, (seen.T @ rows).T, None, None


def _in_parts(rows: Float[Tensor, "k places_d"], places: int) -> Float[Tensor, "parts d rows_places 1"]:
    """Rows as images for PyTorch's pooling, channels last in memory; it shares out images among the cores."""
    return rows.view(math.gcd(len(rows), _PARTS), -1, 1, rows.shape[1] // places).permute(0, 3, 1, 2)


class _Normalization(torch.autograd.Function):
    """Batch norm with statistics that are given, not taken from ``maps``, and that receive their gradients."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(maps, mean, variance, weight)
        ctx.eps = eps
        normalized: Tensor = torch.native_batch_norm(maps, weight, bias, mean, variance, False, 0.0, eps)[0]
        return normalized

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, mean, variance, weight = ctx.saved_tensors
        of_maps, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, maps, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # y = weight (x - mean) rate + bias: the sums that make the gradients of weight and bias serve these, too.
        rate = torch.rsqrt(variance + ctx.eps)
        return of_maps, -weight * rate * of_bias, -0.5 * weight * rate.square() * of_weight, of_weight, of_bias, None


_normalized: Callable[..., Tensor] = _Normalization.apply
_largest_products: Callable[..., Tensor] = _LargestProducts.apply
