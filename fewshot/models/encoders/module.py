"""Any network of the user's as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from episodes.errors import UserError
from fewshot.models.encoders.base import Encoder, ImageShape


class ModuleEncoder(Encoder):
    """A network that maps normalized images (n, channels, height, width) to vectors (n, dim)."""

    title = "a network of the user's"

    def __init__(self, module: nn.Module, image_shape: ImageShape) -> None:
        super().__init__(image_shape)
        self.network = module

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        vectors: Tensor = self.network(self.normalize(images))
        return vectors


def as_encoder(
    module: nn.Module,
    image_shape: ImageShape,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Encoder:
    """``module`` as an encoder of uint8 images (n, channels, height, width); one of ours is returned as it is.

    The module gets floating-point images: pixels scaled to 0..1, less ``mean``, divided by ``std``, one number a
    channel. Left open they are ImageNet's for three channels and 0 and 1 for others. The length of a vector is found by
    trying two images. Raises UserError where the module does not take images of this shape, or gives no vectors.
    """
    if isinstance(module, Encoder):
        if module.image_shape != image_shape:
            raise UserError(f"this encoder was made for images of {module.image_shape}, not {image_shape}")
        return module
    encoder = ModuleEncoder(module, image_shape)
    if mean is not None or std is not None:
        channels = image_shape[0]
        encoder.normalize_by([0.0] * channels if mean is None else mean, [1.0] * channels if std is None else std)
    encoder.feature_shape = (found_dim(encoder, lambda images: module(encoder.normalize(images))),)
    return encoder


def found_dim(encoder: Encoder, embed: Callable[[Tensor], object]) -> int:
    """The length of the vectors that ``embed`` gives: found by asking it about two images, which changes nothing.

    Raises UserError where it fails, or gives something else than vectors.
    """
    channels, height, width = encoder.image_shape
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        with torch.no_grad():
            found = embed(torch.zeros(2, channels, height, width, dtype=torch.uint8))
    except (RuntimeError, ValueError, AssertionError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"this encoder does not work on images of {height}x{width}x{channels}: {reason}") from error
    for module in training:
        module.training = True
    wanted = "an encoder gives one vector (n, dim) of floating-point numbers for each image"
    if not isinstance(found, Tensor):
        raise UserError(f"{wanted}, this one a {type(found).__name__}: wrap it in a module that returns the embedding")
    if found.ndim != 2 or len(found) != 2 or not found.is_floating_point():
        advice = "flatten or pool its maps" if found.ndim == 4 else "change what it returns"
        raise UserError(f"{wanted}, this one {tuple(found.shape)} {found.dtype} for two images: {advice}")
    return found.shape[1]
