"""Networks from image to embedding. A new file registers itself."""

from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape
from fewshot.models.encoders.conv import Conv4
from fewshot.models.encoders.dcgan import DCGANDiscriminator
from fewshot.models.encoders.koch import Koch

__all__ = ["ENCODERS", "Conv4", "DCGANDiscriminator", "Encoder", "ImageShape", "Koch"]
