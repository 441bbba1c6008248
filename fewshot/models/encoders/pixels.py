"""No network at all."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor

from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape


@ENCODERS.register("pixels")
class Pixels(Encoder):
    """The normalized pixels themselves, flattened: nothing to train, for `--model untrained`."""

    title = "the pixels as they are, flattened: nothing is learned (for untrained)"

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(image_shape)
        self.feature_shape = (torch.Size(image_shape).numel(),)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        return self.normalize(images).flatten(1)
