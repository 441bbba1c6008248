"""Conv4 and its relatives: blocks of 3x3 convolution, batch norm, pooling and ReLU."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape
from fewshot.models.encoders.patched_convolution import padding_of, pooled_on_patches, suits_patches
from fewshot.models.encoders.winograd import suits_winograd, winograd


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

    def forward(self, x: Float[Tensor, "n c h w"], pool: bool = True) -> Float[Tensor, "n d h2 w2"]:
        pool = pool and self.pool
        if pool and self.training and suits_patches(x, self.convolution, self.norm):
            maps = pooled_on_patches(x, self.convolution, self.norm)  # the same numbers, sooner
        else:
            folds = not (self.training or uses_batch_statistics(self.norm))
            maps = self._folded(x) if folds else self.norm(self._convolved(x))
            maps = functional.max_pool2d(maps, 2) if pool else maps
        return functional.relu(maps)

    def _folded(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        scale, bias = running_affine(self.norm)
        weight = self.convolution.weight * scale.view(-1, 1, 1, 1)
        if suits_winograd(x, self.convolution):
            return winograd(x, weight, bias, padding_of(self.convolution))
        return functional.conv2d(x, weight, bias, padding=self.convolution.padding)

    def _convolved(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        if suits_winograd(x, self.convolution):
            return winograd(x, self.convolution.weight, None, padding_of(self.convolution))
        maps: Tensor = self.convolution(x)
        return maps


def running_affine(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """What a batch norm does in evaluation: ``scale * x + shift``."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def set_batch_statistics(module: nn.Module) -> None:
    """Make every batch norm inside use the statistics of the batch at hand, in evaluation too (transductive)."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
            norm.num_batches_tracked = None


def uses_batch_statistics(norm: nn.BatchNorm2d) -> bool:
    """Whether ``set_batch_statistics`` was applied."""
    return norm.running_mean is None


@ENCODERS.register("conv4")
class Conv4(Encoder):
    """Four ConvBlocks, flattened (Vinyals et al. 2016; Snell et al. 2017): 28x28 -> 64-d, 84x84 -> 1600-d.

    The papers do not say how the weights begin. Squared distances grow with the number of positions of the last map,
    and at 5x5 a softmax over them begins with losses in the hundreds, which leave dead units behind. So the last
    batch norm begins at the root of one over the positions: distances then begin as at 28x28, where it is 1.
    """

    title = "Conv4-64: four 3x3 convolution blocks (Vinyals 2016, Snell 2017)"
    smallest_image = 16
    takes_half_size = True

    def __init__(self, image_shape: ImageShape, width: int = 64) -> None:
        super().__init__(image_shape)
        channels, height, out_width = image_shape
        sizes = [channels, width, width, width, width]
        blocks = [ConvBlock(*pair) for pair in itertools.pairwise(sizes)]
        positions = (height // 16) * (out_width // 16)
        nn.init.constant_(blocks[-1].norm.weight, positions**-0.5)
        self.blocks = nn.Sequential(*blocks)
        self.feature_shape = (width * positions,)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        return self.maps(images).flatten(1)

    def maps(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The last block's maps. Images of half the side are not pooled there, so that the maps are as large."""
        *before, last = self.blocks
        x = self.normalize(images)
        for block in before:
            x = block(x)
        maps: Tensor = last(x, pool=images.shape[-1] == self.image_shape[-1])
        return maps


@ENCODERS.register("conv4-linear")
class Conv4Linear(Conv4):
    """Conv4 and a linear layer behind it, to ``outputs`` numbers of both signs: an embedding of 2 can be drawn."""

    title = "Conv4-64 and a linear layer to as many numbers as wanted (2 can be drawn)"

    def __init__(self, image_shape: ImageShape, width: int = 64, outputs: int = 64) -> None:
        super().__init__(image_shape, width)
        self.project = nn.Linear(self.dim, outputs)
        self.feature_shape = (outputs,)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        embeddings: Tensor = self.project(self.maps(images).flatten(1))
        return embeddings


@ENCODERS.register("conv4-gaussian")
class Conv4Gaussian(Encoder):
    """Conv4 with batch norm after ReLU and, behind the coordinates, the raw numbers of an inverse covariance.

    Fort 2017, section 3.1, the small encoder: 64-64-64-(64 + S) channels. The last layer ends in batch norm, so its
    numbers have both signs. At 28x28 a channel is one number; larger maps are averaged to one number a channel.
    """

    title = "Conv4 of Fort 2017: coordinates and an inverse covariance (for gaussian-proto)"
    smallest_image = 16
    takes_half_size = True

    def __init__(
        self, image_shape: ImageShape, width: int = 64, covariance: Literal["radius", "diagonal"] = "radius"
    ) -> None:
        super().__init__(image_shape)
        last = width + (1 if covariance == "radius" else width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([image_shape[0], width, width, width, last]):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(after), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)
        self.feature_shape = (last,)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        whole = images.shape[-1] == self.image_shape[-1]  # images of half the side are not pooled at last
        maps: Tensor = (self.layers if whole else self.layers[:-1])(self.normalize(images))
        return maps.mean(dim=(2, 3))


@ENCODERS.register("relation")
class RelationEncoder(Encoder):
    """Four ConvBlocks, two of them without padding and two without pooling (Sung et al. 2018, section 4).

    It gives feature maps: 28x28 -> 64x5x5, 84x84 -> 64x19x19.
    """

    title = "Conv4 of Sung 2018, feature maps (for relation)"
    smallest_image = 10
    takes_half_size = True

    def __init__(self, image_shape: ImageShape, width: int = 64) -> None:
        super().__init__(image_shape)
        self.blocks = nn.Sequential(
            ConvBlock(image_shape[0], width, padding=0),
            ConvBlock(width, width, padding=0),
            ConvBlock(width, width, pool=False),
            ConvBlock(width, width, pool=False),
        )
        height, out_width = (((size - 2) // 2 - 2) // 2 for size in image_shape[1:])
        self.feature_shape = (width, height, out_width)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        maps: Tensor = self.blocks(self.normalize(images))
        if images.shape[-1] != self.image_shape[-1]:  # half the side: as many positions as the head is made for
            maps = functional.interpolate(maps, self.feature_shape[1:])
        return maps
