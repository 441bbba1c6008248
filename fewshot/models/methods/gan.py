"""A generative adversarial network: what its discriminator looks at is the embedding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from fewshot.models.batches import EpisodeImages, LabeledImages
from fewshot.models.distances import full_precision
from fewshot.models.encoders.base import Encoder
from fewshot.models.methods.base import METHODS, NearestMean
from fewshot.models.options import Range, Search

_NUM_SAMPLES = 64  # pictured at every validation, always from the same noise
_SMALLEST_MAP = 4  # pixels of the generator's first map


class Generator(nn.Module):
    """Noise to pixels 0..255 through transposed convolutions with batch norm and ReLU (Radford et al. 2016, figure 1).

    The first map has at least 4x4 positions; every layer doubles the side and halves the channels, and what the last
    map has too much is cut off at its edges.
    """

    def __init__(self, image_shape: tuple[int, int, int], noise: int, width: int) -> None:
        super().__init__()
        channels, height, out_width = image_shape
        doublings = max(1, int(math.log2(max(2, min(height, out_width) / _SMALLEST_MAP)) + 0.999))
        self.image_shape = image_shape
        sides = [-(-side // 2**doublings) for side in (height, out_width)]
        widths = [width * 2 ** (doublings - 1 - layer) for layer in range(doublings)]
        self.first = nn.Sequential(
            nn.Linear(noise, widths[0] * sides[0] * sides[1], bias=False),
            nn.Unflatten(1, (widths[0], sides[0], sides[1])),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1))

    def forward(self, noise: Float[Tensor, "n noise"]) -> Float[Tensor, "n c h w"]:
        maps: Tensor = self.layers(self.first(noise))
        _, height, width = self.image_shape
        top, left = (maps.shape[2] - height) // 2, (maps.shape[3] - width) // 2
        return 255 * maps[:, :, top : top + height, left : left + width].float().sigmoid()


@METHODS.register("gan")
class GAN(NearestMean):
    """Discriminator and generator of DCGAN in the minimax game of Goodfellow et al. 2014 (eq. 1), on unlabeled images.

    The discriminator is a score that is linear in the embedding. Its loss is the cross-entropy of real against made
    images: 1.386 where it knows nothing. ``saturating``: the generator minimizes log(1 - D(G(z))), the value of the
    game itself; ``non-saturating``: -log D(G(z)), whose gradient does not vanish while the generator is poor (section
    3). Both sides step at once on one batch, where the paper takes turns; batch norm learns its statistics from real
    images alone.
    """

    title = "DCGAN: the discriminator's features of a generative adversarial network, no labels"
    source = "Goodfellow et al., NeurIPS 2014; Radford, Metz and Chintala, ICLR 2016"
    formula = r"\min_G\max_D\;\mathbb{E}_x\left[\log D(x)\right]+\mathbb{E}_z\left[\log(1-D(G(z)))\right]"
    search: ClassVar[Search] = {"learning_rate": Range(2e-5, 2e-3), "generator_loss": ("non-saturating", "saturating")}
    default_encoder: ClassVar[str] = "dcgan"
    trains_on: ClassVar[Literal["episodes", "images"]] = "images"
    self_supervised: ClassVar[bool] = True

    fixed_noise: Tensor

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        generator_loss: Literal["non-saturating", "saturating"] = "non-saturating",
        noise: int = 64,
        generator_width: int = 64,
    ) -> None:
        super().__init__(encoder)
        self.generator_loss, self.noise = generator_loss, noise
        self.score = nn.Linear(encoder.dim, 1)
        self.generator = Generator(encoder.image_shape, noise, generator_width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(module.weight, 0, 0.02)  # Radford et al., section 4
        self.register_buffer("fixed_noise", torch.randn(_NUM_SAMPLES, noise))

    @classmethod
    def images_encoded(cls, options: Mapping[str, Any], support: int, others: int) -> int:
        """The real ones, and as many made ones: once to tell them apart, once for the generator to learn."""
        return 3 * (support + others)

    def loss(self, batch: EpisodeImages) -> Float[Tensor, ""]:
        """The loss of an episode taken as a batch of images."""
        return self.loss_of_images(batch.labeled())

    def loss_of_images(self, batch: LabeledImages) -> Float[Tensor, ""]:
        """Discriminator's and generator's loss; neither sends a gradient into the other's weights."""
        drawn = torch.randn(len(batch.images), self.noise, device=batch.images.device)
        made = self.generator(drawn.to(self.encoder.mean.dtype))
        embeddings = self.embed(batch.images)
        with full_precision(embeddings):
            real_scores = self.score(embeddings)
        discriminator = self.discriminator_loss(real_scores, self.scores_of_made(made.detach(), learning=True))
        return discriminator + self.generator_loss_of(self.scores_of_made(made, learning=False))

    def scores_of_made(self, made: Float[Tensor, "n c h w"], *, learning: bool) -> Float[Tensor, "n 1"]:
        """The discriminator's scores of made images, its batch-norm statistics left alone; ``learning``: its weights
        get the gradient, else only the images do."""
        weights = {name: p if learning else p.detach() for name, p in self.encoder.named_parameters()}
        statistics = {name: buffer.clone() for name, buffer in self.encoder.named_buffers()}
        features: Tensor = functional_call(self.encoder, weights | statistics, (made,))
        last = [p if learning else p.detach() for p in (self.score.weight, self.score.bias)]
        with full_precision(features):
            return functional.linear(features.to(self.encoder.mean.dtype), *last)

    @staticmethod
    def discriminator_loss(real: Float[Tensor, "n 1"], made: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """``-log D(x) - log(1 - D(G(z)))``, means over the batch."""
        return functional.softplus(-real).mean() + functional.softplus(made).mean()

    def generator_loss_of(self, made: Float[Tensor, "n 1"]) -> Float[Tensor, ""]:
        """``-log D(G(z))``, or ``log(1 - D(G(z)))`` where it may saturate."""
        if self.generator_loss == "saturating":
            return -functional.softplus(made).mean()
        return functional.softplus(-made).mean()

    def samples(self) -> UInt8[Tensor, "n c h w"]:
        """Images made from noise that stays the same over the training."""
        with torch.inference_mode():
            made: Tensor = self.generator(self.fixed_noise)
        return made.round().to(torch.uint8)
