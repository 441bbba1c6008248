"""Networks from image to embedding. uint8 goes in; scaling and normalization travel with the weights as buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from episodes.errors import UserError
from episodes.registry import Registry, entries_of_package

ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder", "fewshot.encoders", lambda: Encoder, own=entries_of_package("fewshot.models.encoders")
)

ImageShape = tuple[int, int, int]  # channels, height, width

# ImageNet's channel statistics for color; ink on paper needs none: 0 is paper, 1 is ink.
_COLOR_MEAN, _COLOR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """``(num_images, C, H, W)`` uint8 -> ``(num_images, *feature_shape)``, whatever the autocast precision is.

    Pixels 0 to 255 may be floating-point numbers, too: those that a generator makes carry a gradient.
    """

    title: ClassVar[str]  # one line for `fewshot list encoders`
    smallest_image: ClassVar[int] = 1  # pixels of height and width
    takes_half_size: ClassVar[bool] = False  # gives as many features of images of half the side
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
        self.normalize_by(
            _COLOR_MEAN if color else [0.0] * image_shape[0], _COLOR_STD if color else [1.0] * image_shape[0]
        )

    def normalize_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set what is subtracted and what divides, one number a channel, for pixels scaled to 0..1."""
        channels = self.image_shape[0]
        if len(mean) != channels or len(std) != channels or min(std) <= 0:
            raise UserError(f"mean and std take {channels} numbers each, one a channel, std above 0: {mean}, {std}")
        self.register_buffer("mean", torch.tensor([*mean]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor([*std]).view(1, -1, 1, 1))

    def normalize(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n channels h w"]:
        """Pixels scaled to 0..1, less the mean, by the standard deviation; channels last in memory.

        There are as many channels as there are means: one of the images meets three of them.
        """
        if tuple(images.shape[1:]) != self.image_shape and not self._is_half_size(images):
            raise UserError(f"this encoder was made for images of {self.image_shape}, not {tuple(images.shape[1:])}")
        pixels = images.to(self.mean.dtype, memory_format=torch.channels_last)
        return (pixels / 255 - self.mean) / self.std

    def _is_half_size(self, images: Num[Tensor, "n c h w"]) -> bool:
        channels, height, width = self.image_shape
        return self.takes_half_size and images.shape[1:] == (channels, height // 2, width // 2)

    @property
    def dim(self) -> int:
        """Numbers in one embedding."""
        return int(torch.Size(self.feature_shape).numel())
