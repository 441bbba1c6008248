"""Random changes to the images of a training batch: every image its own, the whole batch in a few array operations.

What happens to an image follows from (seed, step) alone. All geometry (shift, scale, rotation, shear, flip, warp) is
one sampling grid for each image, so pixels are interpolated once. torchvision's transforms draw one set of numbers for
a whole batch, or must be called image by image; their arithmetic is the same, and the tests hold it against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from episodes.draws import AUGMENT
from episodes.philox import random_words

_WARP_NODES = 4  # of the coarse grid of displacements, each way
_NUM_DRAWN = 11 + 2 * _WARP_NODES**2  # random numbers for an image
_GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each image draws its own change, uniformly.

    ``shift`` is a share of the side, ``scale`` the least and greatest size of what is shown, ``stretch`` what height
    and width may differ by, ``rotation`` and ``shear`` are degrees, ``warp`` is the greatest displacement of a smooth
    random field as a share of the side. ``crop`` is the least share of the side that a random crop keeps. ``jitter`` is
    the strength of brightness, contrast and saturation. What lies outside the image is 0, which is paper, or mirrored.
    """

    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    warp: float = 0.0
    crop: float = 1.0
    flip: bool = False
    jitter: float = 0.0
    mirrored: bool = False

    def __call__(self, images: UInt8[Tensor, "n c h w"], seed: int, index: int) -> UInt8[Tensor, "n c h w"]:
        """The images of batch ``index``, each changed in its own way."""
        words = random_words(seed, AUGMENT, np.asarray([index]), len(images) * _NUM_DRAWN)
        drawn = torch.from_numpy(words.reshape(len(images), _NUM_DRAWN) / np.float64(2**32)).float().to(images.device)
        if self == _FLIP:  # what the grid below would give, for a tenth of the time
            return torch.where((drawn[:, 7] < 0.5).view(-1, 1, 1, 1), images.flip(-1), images)
        grid = functional.affine_grid(self.matrices(drawn), [*images.shape], align_corners=False)
        if self.warp:
            nodes = (2 * drawn[:, 11:] - 1).reshape(-1, 2, _WARP_NODES, _WARP_NODES) * 2 * self.warp
            field = functional.interpolate(nodes, images.shape[-2:], mode="bicubic", align_corners=True)
            grid = grid + field.permute(0, 2, 3, 1)
        outside = "reflection" if self.mirrored else "zeros"
        pixels = functional.grid_sample(images.float(), grid, padding_mode=outside, align_corners=False)
        if self.jitter:
            pixels = jittered(pixels, 1 + self.jitter * (2 * drawn[:, 8:11] - 1))
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def matrices(self, drawn: Float[Tensor, "n numbers"]) -> Float[Tensor, "n 2 3"]:
        """Where in the original each point of the result comes from, in coordinates from -1 to 1 (x before y)."""
        symmetric = 2 * drawn - 1
        angle = symmetric[:, 0] * math.radians(self.rotation)
        slant = (symmetric[:, 1] * math.radians(self.shear)).tan()
        least, greatest = self.scale
        size = least + (greatest - least) * drawn[:, 2]
        stretch = 1 + self.stretch * symmetric[:, 3]
        kept = self.crop + (1 - self.crop) * drawn[:, 6]
        mirror = torch.where(drawn[:, 7] < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(angle)
        cosine, sine = angle.cos(), angle.sin()
        wide, high = kept * stretch / size, kept / (stretch * size)
        rows = [
            torch.stack([mirror * cosine * wide, (slant * cosine - sine) * high], dim=1),
            torch.stack([mirror * sine * wide, (slant * sine + cosine) * high], dim=1),
        ]
        room = (1 - kept)[:, None] + 2 * self.shift  # a shift of one whole side is 2 in these coordinates
        return torch.cat([torch.stack(rows, dim=1), (symmetric[:, 4:6] * room)[..., None]], dim=2)


def half_size(images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c half_h half_w"]:
    """Images of half the height and width: each pixel is the mean of four."""
    return functional.avg_pool2d(images.float(), 2).round().to(torch.uint8)


def jittered(pixels: Float[Tensor, "n c h w"], factors: Float[Tensor, "n 3"]) -> Float[Tensor, "n c h w"]:
    """Brightness, contrast and saturation of 0..255 pixels scaled by the three factors of each image, in this order."""
    brightness, contrast, saturation = factors.reshape(-1, 3, 1, 1, 1).unbind(1)
    pixels = (pixels * brightness).clamp(0, 255)
    pixels = (contrast * pixels + (1 - contrast) * _gray(pixels).mean(dim=(1, 2, 3), keepdim=True)).clamp(0, 255)
    saturated: Tensor = saturation * pixels + (1 - saturation) * _gray(pixels)
    return saturated.clamp(0, 255)


def _gray(pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    if pixels.shape[1] != len(_GRAY):
        return pixels.mean(dim=1, keepdim=True)
    gray: Tensor = (pixels * pixels.new_tensor(_GRAY).view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
    return gray


_FLIP = Augmentation(flip=True)
AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": _FLIP,
    "ink": Augmentation(shift=0.12, scale=(0.75, 1.2), stretch=0.15, rotation=20, shear=20, warp=0.06),
    "ink-light": Augmentation(shift=0.06, scale=(0.9, 1.1), rotation=10, shear=10),
    "photo": Augmentation(crop=0.5, flip=True, jitter=0.4, stretch=0.1, mirrored=True),
    "photo-strong": Augmentation(crop=0.3, flip=True, jitter=0.7, stretch=0.15, mirrored=True),
}
"""By name, for recipes and ``--augment``."""
