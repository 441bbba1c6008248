"""Networks from image to embedding. uint8 goes in; scaling and normalization travel with the weights as buffers."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from episodes.registry import Registry

ENCODERS: Registry[type[Encoder]] = Registry("encoder")

ImageShape = tuple[int, int, int]  # channels, height, width

# ImageNet's channel statistics for color; ink on paper needs none: 0 is paper, 1 is ink.
_COLOR_MEAN, _COLOR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """(num_images, C, H, W) uint8 -> (num_images, *feature_shape), whatever the autocast precision is."""

    title: ClassVar[str]  # one line for `fewshot list encoders`
    feature_shape: tuple[int, ...]

    mean: Tensor
    std: Tensor

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.image_shape = image_shape
        color = image_shape[0] == 3
        self.register_buffer("mean", torch.tensor(_COLOR_MEAN if color else [0.0] * image_shape[0]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(_COLOR_STD if color else [1.0] * image_shape[0]).view(1, -1, 1, 1))

    def normalize(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Pixels scaled to 0..1, less the mean, by the standard deviation; channels last in memory."""
        if tuple(images.shape[1:]) != self.image_shape:
            raise UserError(f"this encoder was made for images of {self.image_shape}, not {tuple(images.shape[1:])}")
        pixels = images.to(self.mean.dtype, memory_format=torch.channels_last)
        return (pixels / 255 - self.mean) / self.std

    @property
    def dim(self) -> int:
        """Numbers in one embedding."""
        return int(torch.Size(self.feature_shape).numel())


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm, 2x2 max pooling, ReLU.

    The papers write ReLU before the pooling. Both are monotone, so the result is equal, and a quarter of the numbers
    is rectified. No bias: batch norm would take it away again. In evaluation batch norm is an affine map and is
    folded into the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, padding: int = 1, pool: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = pool

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        x = self.norm(self.convolution(x)) if self.training else self._folded(x)
        if self.pool:
            x = functional.max_pool2d(x, 2)
        return functional.relu(x)

    def _folded(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        norm = self.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = self.convolution.weight * scale.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * scale
        return functional.conv2d(x, weight, bias, padding=self.convolution.padding)


@ENCODERS.register("conv4")
class Conv4(Encoder):
    """Four ConvBlocks, flattened (Vinyals et al. 2016; Snell et al. 2017): 28x28 -> 64-d, 84x84 -> 1600-d."""

    title = "Conv4-64: four 3x3 convolution blocks (Vinyals 2016, Snell 2017)"

    def __init__(self, image_shape: ImageShape, width: int = 64) -> None:
        super().__init__(image_shape)
        channels, height, out_width = image_shape
        if min(height, out_width) < 16:
            raise UserError(f"conv4 halves the image four times and needs 16x16 or more, not {height}x{out_width}")
        sizes = [channels, width, width, width, width]
        self.blocks = nn.Sequential(*(ConvBlock(*pair) for pair in itertools.pairwise(sizes)))
        self.feature_shape = (width * (height // 16) * (out_width // 16),)

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        maps: Tensor = self.blocks(self.normalize(images))
        return maps.flatten(1)
