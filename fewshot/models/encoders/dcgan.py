"""DCGAN's discriminator as an encoder (Radford et al. 2016)."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape


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
