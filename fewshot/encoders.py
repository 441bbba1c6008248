"""Networks from image to embedding. uint8 goes in; scaling and normalization travel with the weights as buffers."""

from __future__ import annotations

import itertools
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from episodes.registry import Registry
from fewshot.first_block import pooled_on_patches, suits_patches

ENCODERS: Registry[type[Encoder]] = Registry("encoder")

ImageShape = tuple[int, int, int]  # channels, height, width

# ImageNet's channel statistics for color; ink on paper needs none: 0 is paper, 1 is ink.
_COLOR_MEAN, _COLOR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """(num_images, C, H, W) uint8 -> (num_images, *feature_shape), whatever the autocast precision is.

    Pixels 0 to 255 may be floating-point numbers, too: those that a generator makes carry a gradient.
    """

    title: ClassVar[str]  # one line for `fewshot list encoders`
    smallest_image: ClassVar[int] = 1  # pixels of height and width
    feature_shape: tuple[int, ...]

    mean: Tensor
    std: Tensor

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        if min(image_shape[1:]) < self.smallest_image:
            raise UserError(
                f"{type(self).__name__} needs images of {self.smallest_image}x{self.smallest_image} or more, "
                f"not {image_shape[1]}x{image_shape[2]}: choose larger images (--size) or another --encoder"
            )
        self.image_shape = image_shape
        color = image_shape[0] == 3
        self.register_buffer("mean", torch.tensor(_COLOR_MEAN if color else [0.0] * image_shape[0]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(_COLOR_STD if color else [1.0] * image_shape[0]).view(1, -1, 1, 1))

    def normalize(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
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
        if self.training and self.pool and suits_patches(x, self.convolution, self.norm):
            return functional.relu(pooled_on_patches(x, self.convolution, self.norm))
        batch_statistics = self.training or uses_batch_statistics(self.norm)
        x = self.norm(self.convolution(x)) if batch_statistics else self._folded(x)
        if self.pool:
            x = functional.max_pool2d(x, 2)
        return functional.relu(x)

    def _folded(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        scale, bias = running_affine(self.norm)
        weight = self.convolution.weight * scale.view(-1, 1, 1, 1)
        return functional.conv2d(x, weight, bias, padding=self.convolution.padding)


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
        maps: Tensor = self.blocks(self.normalize(images))
        return maps.flatten(1)


@ENCODERS.register("conv4-linear")
class Conv4Linear(Conv4):
    """Conv4 and a linear layer behind it, to ``outputs`` numbers of both signs: an embedding of 2 can be drawn."""

    title = "Conv4-64 and a linear layer to as many numbers as wanted (2 can be drawn)"

    def __init__(self, image_shape: ImageShape, width: int = 64, outputs: int = 64) -> None:
        super().__init__(image_shape, width)
        self.project = nn.Linear(self.dim, outputs)
        self.feature_shape = (outputs,)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        maps: Tensor = self.blocks(self.normalize(images))
        embeddings: Tensor = self.project(maps.flatten(1))
        return embeddings


@ENCODERS.register("conv4-gaussian")
class Conv4Gaussian(Encoder):
    """Conv4 with batch norm after ReLU and, behind the coordinates, the raw numbers of an inverse covariance.

    Fort 2017, section 3.1, the small encoder: 64-64-64-(64 + S) channels. The last layer ends in batch norm, so its
    numbers have both signs. At 28x28 a channel is one number; larger maps are averaged to one number a channel.
    """

    title = "Conv4 of Fort 2017: coordinates and an inverse covariance (for gaussian-proto)"
    smallest_image = 16

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
        maps: Tensor = self.layers(self.normalize(images))
        return maps.mean(dim=(2, 3))


@ENCODERS.register("relation")
class RelationEncoder(Encoder):
    """Four ConvBlocks, two of them without padding and two without pooling (Sung et al. 2018, section 4).

    It gives feature maps: 28x28 -> 64x5x5, 84x84 -> 64x19x19.
    """

    title = "Conv4 of Sung 2018, feature maps (for relation)"
    smallest_image = 10

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
        return maps


@ENCODERS.register("pixels")
class Pixels(Encoder):
    """The normalized pixels themselves, flattened: nothing to train, for `--model untrained`."""

    title = "the pixels as they are, flattened: nothing is learned (for untrained)"

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(image_shape)
        self.feature_shape = (torch.Size(image_shape).numel(),)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        return self.normalize(images).flatten(1)


@ENCODERS.register("koch")
class Koch(Encoder):
    """The twin of Koch et al. 2015 (figure 4): four convolutions without padding, 4096 sigmoid units.

    64 kernels of 10x10, 128 of 7x7, 128 of 4x4, 256 of 4x4, each with ReLU, pooled by 2 after all but the last;
    105x105 -> 256x6x6 -> 4096. No batch norm. ``paper`` draws convolutions from N(0, 0.01), the last layer from
    N(0, 0.2) and biases from N(0.5, 0.01), as section 3.2 says. Its sigmoids then begin saturated, which Adam hardly
    overcomes: ``he`` draws for ReLU (He et al. 2015) and leaves the sigmoids near their middle.
    """

    title = "Koch's twin: four large convolutions and 4096 sigmoid units, for 105x105 (siamese; Koch 2015)"
    smallest_image = 65

    def __init__(
        self, image_shape: ImageShape, units: int = 4096, initialization: Literal["paper", "he"] = "paper"
    ) -> None:
        super().__init__(image_shape)
        channels, _, _ = image_shape
        layers: list[nn.Module] = []
        for before, after, kernel in ((channels, 64, 10), (64, 128, 7), (128, 128, 4), (128, 256, 4)):
            layers += [nn.Conv2d(before, after, kernel), nn.ReLU(), nn.MaxPool2d(2)]
        self.convolutions = nn.Sequential(*layers[:-1])  # the last is not pooled
        rows, columns = ((((side - 9) // 2 - 6) // 2 - 3) // 2 - 3 for side in image_shape[1:])
        self.code = nn.Linear(256 * rows * columns, units)
        self.feature_shape = (units,)
        for layer in (*self.convolutions, self.code):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                self._initialize(layer, initialization)

    @staticmethod
    def _initialize(layer: nn.Conv2d | nn.Linear, initialization: str) -> None:
        assert layer.bias is not None
        if initialization == "paper":
            nn.init.normal_(layer.weight, 0, 0.2 if isinstance(layer, nn.Linear) else 0.01)
            nn.init.normal_(layer.bias, 0.5, 0.01)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="sigmoid" if isinstance(layer, nn.Linear) else "relu")
            nn.init.zeros_(layer.bias)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        maps: Tensor = self.convolutions(self.normalize(images))
        codes: Tensor = self.code(maps.flatten(1)).sigmoid()
        return codes


@ENCODERS.register("dcgan")
class DCGANDiscriminator(Encoder):
    """The convolutions of DCGAN's discriminator: 4x4, stride 2, leaky ReLU, batch norm in all but the first.

    Radford et al. 2016, section 3: as many layers as leave 3x3 positions or more. Its features are those of their
    section 5.1, every layer max-pooled to a few positions and all of them joined; ``positions`` is 2 each way here (4
    in the paper, for images of 64x64): 28x28 -> 1792-d.
    """

    title = "DCGAN's discriminator: strided convolutions, all layers pooled and joined (for gan)"
    smallest_image = 8

    def __init__(self, image_shape: ImageShape, width: int = 64, positions: int = 2) -> None:
        super().__init__(image_shape)
        self.positions = positions
        side, widths = min(image_shape[1:]) // 2, [image_shape[0], width]
        while side // 2 >= 3:
            side, widths = side // 2, [*widths, 2 * widths[-1]]
        self.layers = nn.ModuleList()
        for number, (before, after) in enumerate(itertools.pairwise(widths)):
            convolution = nn.Conv2d(before, after, 4, 2, 1, bias=number == 0)
            norm = nn.BatchNorm2d(after) if number else nn.Identity()
            self.layers.append(nn.Sequential(convolution, norm, nn.LeakyReLU(0.2)))
        self.feature_shape = (sum(widths[1:]) * positions**2,)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        maps, pooled = self.normalize(images), []
        for layer in self.layers:
            maps = layer(maps)
            pooled.append(functional.adaptive_max_pool2d(maps, self.positions).flatten(1))
        return torch.cat(pooled, dim=1)
