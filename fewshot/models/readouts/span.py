"""Class weights kept as combinations of the images of an episode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot.models.readouts.base import support_shares
from fewshot.models.shapes import Query, Support


@dataclass
class SpanWeights:
    """Class weights ``coefficients @ images``, support before queries, all seen from the first image.

    They start as the class means, and a rule that only adds images to them never leaves their span: what is kept are
    coefficients and the products of the weights with all images, however long an embedding is. The rule must be one of
    distances, so that it does not matter from where images are seen.
    """

    gram: Float[Tensor, "batch images images"]
    coefficients: Float[Tensor, "batch way images"]
    products: Float[Tensor, "batch way images"]

    @classmethod
    def of_means(cls, support: Support, query: Query) -> SpanWeights:
        """The means of the classes."""
        images = torch.cat([support.flatten(1, 2), query], dim=1)
        images = images - images[:, :1]  # no distance feels it, and equal images get equal scores
        means = support_shares(support) / support.shape[2]
        coefficients = images.new_zeros(len(support), support.shape[1], images.shape[1])
        coefficients[..., : means.shape[1]] = means
        gram = images @ images.transpose(1, 2)
        return cls(gram, coefficients, coefficients @ gram)

    def scores(self, out: Float[Tensor, "batch way images"] | None = None) -> Float[Tensor, "batch way images"]:
        """Minus half the squared distance of weights and image, but for the image's own length: the same for all
        classes, it moves no softmax. Written to ``out`` where it is given."""
        lengths = torch.mul(self.coefficients, self.products, out=out).sum(-1, keepdim=True)
        return torch.sub(self.products, lengths, alpha=0.5, out=out)
