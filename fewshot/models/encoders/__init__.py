"""Networks from image to embedding. A new file registers itself."""

from episodes.registry import import_submodules
from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape
from fewshot.models.encoders.conv import Conv4
from fewshot.models.encoders.module import as_encoder

import_submodules(__name__, __path__)

__all__ = ["ENCODERS", "Conv4", "Encoder", "ImageShape", "as_encoder"]
