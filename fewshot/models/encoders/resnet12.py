"""ResNet-12, the encoder of few-shot papers since 2019, with DropBlock."""

from __future__ import annotations

import itertools
from pathlib import Path
from pickle import UnpicklingError

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape

_WIDTHS = (64, 160, 320, 640)
_SLOPE = 0.1  # of the leaky ReLU
_FEAT_PIXELS = {"mean": (120.39586422, 115.59361427, 104.54012653), "std": (70.68188272, 68.27635443, 72.54505529)}
_RAMP = 40_000  # training batches until DropBlock drops its whole share


def drop_blocks(maps: Float[Tensor, "n c h w"], share: float, size: int) -> Float[Tensor, "n c h w"]:
    """Squares of ``size`` set to zero, at random places of every map; the rest is scaled so that the mean stays
    (Ghiasi et al. 2018, algorithm 1). ``share`` of the numbers is dropped, but for squares that overlap."""
    height, width = maps.shape[2:]
    size = min(size, height, width)
    corners = (height - size + 1) * (width - size + 1)
    chance = share / size**2 * height * width / corners
    seeds = torch.rand(*maps.shape[:2], height - size + 1, width - size + 1, device=maps.device) < chance
    padded = functional.pad(seeds.to(maps.dtype), [size - 1] * 4)
    kept = 1 - functional.max_pool2d(padded, size, stride=1)  # (n, c, h, w)
    return maps * kept * (kept.numel() / kept.sum().clamp_min(1))


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions beside a 1x1 convolution, leaky ReLU, 2x2 max pooling, and what training drops.

    The names of the layers are those of the released code, whose checkpoints are read by them.
    """

    def __init__(self, in_channels: int, out_channels: int, drop_share: float, block_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.drop_share, self.block_size = drop_share, block_size

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        maps = functional.leaky_relu(self.bn1(self.conv1(x)), _SLOPE)
        maps = functional.leaky_relu(self.bn2(self.conv2(maps)), _SLOPE)
        maps = functional.leaky_relu(self.bn3(self.conv3(maps)) + self.downsample(x), _SLOPE)
        maps = functional.max_pool2d(maps, 2)
        if not (self.training and self.drop_share):
            return maps
        if self.block_size == 1:
            return functional.dropout(maps, self.drop_share)
        batches = self.bn1.num_batches_tracked
        assert batches is not None
        return drop_blocks(maps, self.drop_share * min(1.0, int(batches) / _RAMP), self.block_size)


@ENCODERS.register("resnet12")
class ResNet12(Encoder):
    """Four residual blocks of 64, 160, 320 and 640 channels, averaged to 640 numbers: 12.4 million parameters.

    As in MetaOptNet (Lee et al. 2019) and FEAT (Ye et al. 2020), after Oreshkin et al. (2018): the first two blocks
    drop single numbers, the last two squares of 5x5, whose share grows over the first 40,000 batches. A training can
    start from FEAT's checkpoints (``--init Res12-pre.pth``).
    """

    title = "ResNet-12 with DropBlock, 640 numbers (Oreshkin 2018, Lee 2019)"
    smallest_image = 16

    def __init__(self, image_shape: ImageShape, drop_share: float = 0.1, block_size: int = 5) -> None:
        super().__init__(image_shape)
        sizes = itertools.pairwise((image_shape[0], *_WIDTHS))
        blocks = [
            ResidualBlock(*pair, drop_share, block_size if number > 2 else 1) for number, pair in enumerate(sizes, 1)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Sequential(block) for block in blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
        self.feature_shape = (_WIDTHS[-1],)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(self.normalize(images)))))
        return maps.mean(dim=(2, 3))


def released_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``ResNet12`` from a checkpoint in FEAT's layout (``params``, names with ``encoder.`` before).

    FEAT's own normalization of pixels comes with them. Raises UserError where the file is none of these.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read as PyTorch's weights: {error}".splitlines()[0]) from error
    stored = content.get("params") if isinstance(content, dict) else None
    if not isinstance(stored, dict) or not any(str(name).startswith("encoder.layer1.") for name in stored):
        keys = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path} does not hold weights in FEAT's layout: its keys are {keys}")
    kept = {name.removeprefix("encoder."): tensor for name, tensor in stored.items() if name.startswith("encoder.")}
    counters = {f"{name.removesuffix('.running_mean')}.num_batches_tracked" for name in kept if "running_mean" in name}
    pixels = {name: torch.tensor(values).view(1, -1, 1, 1) / 255 for name, values in _FEAT_PIXELS.items()}
    return {name: torch.tensor(_RAMP) for name in counters} | kept | pixels
