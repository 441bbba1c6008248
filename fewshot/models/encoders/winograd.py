"""Winograd's 3x3 convolution (Lavin and Gray 2016) for processors whose time goes into its multiplications.

A tile of ``m x m`` outputs is the inverse transform of a product of transforms: ``A' [(G w G') * (B' x B)] A``, with
``(m + 2)^2`` multiplications for each pair of channels instead of ``9 m^2``: a quarter at m = 4, a fifth at m = 6. The
products of all tiles are matrix products; the gradients are the adjoint of the same steps, on the kept transform of
the input. It is the same function as a plain convolution: float32 rounds at 4e-6 of its size instead of 4e-7.

Images are taken a few at a time, so that what is between the steps stays in the processor's caches, and each thread
takes images of its own from the first step to the last: threads need not wait for each other at every step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fewshot.models.hardware import has_avx2_at_most, side_by_side

_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)  # of interpolation, besides infinity; a tile of m takes the first m + 1
_SMALLEST_SIDE = 12  # of a map: tiles of smaller ones are mostly padding
_FEWEST_CHANNELS = 32  # on either side: with fewer the transforms cost more than they spare
_TILES_TOGETHER = 256  # what is between the steps then fits into the caches


def suits_winograd(x: Float[Tensor, "n c h w"], convolution: nn.Conv2d) -> bool:
    """Whether ``winograd`` can take the place of the convolution and is quicker.

    That is so in float32 on a processor with AVX2 and without AVX-512, where plain convolutions run at the peak.
    Weights that are computed, as MAML's are in an episode, may want second derivatives, which only the plain
    convolution has.
    """
    padding = convolution.padding[0]
    return (
        x.device.type == "cpu"
        and x.dtype == convolution.weight.dtype == torch.float32
        and isinstance(convolution.weight, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and has_avx2_at_most()
        and min(convolution.in_channels, convolution.out_channels) >= _FEWEST_CHANNELS
        and convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and isinstance(padding, int)
        and min(x.shape[2:]) + 2 * padding - 2 >= _SMALLEST_SIDE
    )


def winograd(
    x: Float[Tensor, "n c h w"], weight: Float[Tensor, "d c 3 3"], bias: Float[Tensor, " d"] | None, padding: int
) -> Float[Tensor, "n d h2 w2"]:
    """``conv2d(x, weight, bias, padding=padding)``, channels last in memory; any device and floating-point type."""
    return _winograd(x, weight, bias, padding)


class _Matrices(NamedTuple):
    """The three transforms of one dimension: to tiles of ``m`` from inputs of ``m + 2`` and kernels of 3."""

    inputs: Tensor  # B', (m + 2, m + 2)
    kernels: Tensor  # G, (m + 2, 3)
    outputs: Tensor  # A', (m, m + 2)


@functools.cache
def _matrices(m: int, dtype: torch.dtype) -> _Matrices:
    """Interpolation at ``m + 1`` points and at infinity, as Lavin and Gray write it."""
    points = torch.tensor(_POINTS[: m + 1], dtype=torch.float64)
    powers = torch.linalg.vander(points, N=m)
    others = [torch.cat([points[:j], points[j + 1 :]]) for j in range(m + 1)]
    shapes = (m + 2, m + 2), (m + 2, 3), (m, m + 2)
    inputs, kernels, outputs = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
    outputs[:, :-1], outputs[-1, -1] = powers[:, :m].T, 1
    kernels[:-1], kernels[-1, -1] = powers[:, :3], 1
    for j, rest in enumerate([*others, points]):
        coefficients = functools.reduce(_times_root, rest, torch.ones(1, dtype=torch.float64))
        inputs[j, : len(coefficients)] = coefficients
    for j, rest in enumerate(others):
        kernels[j] /= (points[j] - rest).prod()
    return _Matrices(inputs.to(dtype), kernels.to(dtype), outputs.to(dtype))


def _times_root(coefficients: Tensor, root: Tensor) -> Tensor:
    """The polynomial, lowest power first, times ``(x - root)``."""
    return functional.pad(coefficients, (1, 0)) - root * functional.pad(coefficients, (0, 1))


def _both_ways(matrix: Tensor, tiles: Tensor) -> Tensor:
    """A transform of rows and of columns: (k, k, anything) -> (j, j, anything) for a matrix of (j, k)."""
    (j, k), rest = matrix.shape, tiles[0, 0].numel()
    rows = (matrix @ tiles.reshape(k, k * rest)).view(j, k, rest)
    return torch.bmm(matrix.expand(j, j, k), rows)


class _Grid(NamedTuple):
    """How a map of ``height x width`` outputs is cut into tiles of ``m`` a side, and how many images go together."""

    height: int
    width: int
    m: int
    down: int
    across: int
    images: int

    @classmethod
    def of(cls, height: int, width: int) -> _Grid:
        """With the tile that needs the fewest multiplications."""
        m = min((4, 6), key=lambda m: (m + 2) ** 2 * math.ceil(height / m) * math.ceil(width / m))
        down, across = math.ceil(height / m), math.ceil(width / m)
        return cls(height, width, m, down, across, max(1, _TILES_TOGETHER // (down * across)))

    def inputs(self, x: Tensor, padding: int) -> Tensor:
        """Overlapping tiles, (m + 2, m + 2, images, down, across, channels), of images (n, h, w, c)."""
        below, right = (self.m * count + 2 - padding for count in (self.down, self.across))
        padded = functional.pad(x, (0, 0, padding, right - x.shape[2], padding, below - x.shape[1]))
        image, row, column, channel = padded.stride()
        sizes = (self.m + 2, self.m + 2, len(x), self.down, self.across, x.shape[3])
        return padded.as_strided(sizes, (row, column, image, self.m * row, self.m * column, channel))

    def outputs(self, gradient: Tensor) -> Tensor:
        """Tiles, (m, m, images, down, across, channels), of maps (n, height, width, channels)."""
        below, right = self.m * self.down - self.height, self.m * self.across - self.width
        padded = functional.pad(gradient, (0, 0, 0, right, 0, below))
        return padded.view(len(gradient), self.down, self.m, self.across, self.m, -1).permute(2, 4, 0, 1, 3, 5)

    def maps(self, tiles: Tensor, num_images: int) -> Tensor:
        """The maps (n, height, width, channels) that were cut into those tiles."""
        cut = tiles.view(self.m, self.m, num_images, self.down, self.across, -1).permute(2, 3, 0, 4, 1, 5)
        return cut.reshape(num_images, self.m * self.down, self.m * self.across, -1)[:, : self.height, : self.width]

    def images_of(self, tiles: Tensor, num_images: int, padding: int) -> Tensor:
        """The sum of overlapping tiles at their places: the adjoint of ``inputs``."""
        m, down, across = self.m, self.down, self.across
        cut = tiles.view(m + 2, m + 2, num_images, down, across, -1).permute(2, 3, 0, 4, 1, 5)
        summed = tiles.new_zeros(num_images, down + 1, m, across + 1, m, cut.shape[-1])
        summed[:, :down, :, :across] = cut[:, :, :m, :, :m]
        summed[:, 1:, :2, :across] += cut[:, :, m:, :, :m]
        summed[:, :down, :, 1:, :2] += cut[:, :, :m, :, m:]
        summed[:, 1:, :2, 1:, :2] += cut[:, :, m:, :, m:]
        height, width = (side + 2 - 2 * padding for side in (self.height, self.width))
        whole = summed.view(num_images, m * (down + 1), m * (across + 1), -1)
        return whole[:, padding : padding + height, padding : padding + width]


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        (num_images, channels, *sides), made = x.shape, len(weight)
        grid = _Grid.of(*(side + 2 * padding - 2 for side in sides))
        to_inputs, to_kernels, to_outputs = _matrices(grid.m, x.dtype)
        kernels = _both_ways(to_kernels, weight.permute(2, 3, 1, 0).contiguous()).view(-1, channels, made)
        images = x.permute(0, 2, 3, 1)
        maps = x.new_empty(num_images, grid.height, grid.width, made)
        keep = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]

        def some(first: int) -> Tensor | None:
            part = images[first : first + grid.images]
            inputs = _both_ways(to_inputs, grid.inputs(part, padding)).view(len(kernels), -1, channels)
            products = torch.bmm(inputs, kernels).view(grid.m + 2, grid.m + 2, -1)
            tiles = _both_ways(to_outputs, products).view(grid.m * grid.m, -1, made)
            maps[first : first + len(part)] = grid.maps(tiles if bias is None else tiles + bias, len(part))
            return inputs if keep else None

        kept = side_by_side(some, range(0, num_images, grid.images))
        if keep:
            ctx.save_for_backward(kernels, *(inputs for inputs in kept if inputs is not None))
            ctx.grid, ctx.padding, ctx.has_bias = grid, padding, bias is not None
        return maps.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels, *inputs = ctx.saved_tensors
        grid, padding = ctx.grid, ctx.padding
        to_inputs, to_kernels, to_outputs = _matrices(grid.m, gradient.dtype)
        _, channels, made = kernels.shape
        of_maps = gradient.permute(0, 2, 3, 1)
        height, width = (side + 2 - 2 * padding for side in (grid.height, grid.width))
        of_images = gradient.new_empty(len(gradient), height, width, channels)

        def some(first: int) -> Tensor:
            part = of_maps[first : first + grid.images]
            products = _both_ways(to_outputs.T, grid.outputs(part)).view(len(kernels), -1, made)
            if ctx.needs_input_grad[0]:
                transformed = torch.bmm(products, kernels.transpose(1, 2)).view(grid.m + 2, grid.m + 2, -1)
                tiles = _both_ways(to_inputs.T, transformed)
                of_images[first : first + len(part)] = grid.images_of(tiles, len(part), padding)
            return torch.bmm(inputs[first // grid.images].transpose(1, 2), products)

        of_kernels = functools.reduce(torch.add, side_by_side(some, range(0, len(gradient), grid.images)))
        of_weight = _both_ways(to_kernels.T, of_kernels.view(grid.m + 2, grid.m + 2, -1))
        return (
            of_images.permute(0, 3, 1, 2) if ctx.needs_input_grad[0] else None,
            of_weight.view(3, 3, channels, made).permute(3, 2, 0, 1),
            gradient.sum((0, 2, 3)) if ctx.has_bias else None,
            None,
        )


_winograd: Callable[..., Tensor] = _Winograd.apply
