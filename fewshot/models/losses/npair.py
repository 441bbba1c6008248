"""One pair a class, each against the positives of all other classes."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fewshot.models.losses.base import LOSSES, Loss, nothing
from fewshot.models.options import Range, Search


@LOSSES.register("npair")
class NPair(Loss):
    """``log(1 + sum over other classes of exp(anchor . their positive - anchor . own positive))``, mean over classes.

    Sohn 2016, eq. 6 (N-pair-mc), dot products of embeddings of free length. ``norm_weight`` times the mean squared
    length of the embeddings is added (section 3.2.2). Of each class the first two images of the batch are anchor and
    positive; classes with one image take no part.
    """

    title = "N-pair loss: one pair a class against the positives of all other classes"
    source = "Sohn, NeurIPS 2016"
    formula = (
        r"\mathcal{L}=\log\left(1+\sum_{k\neq y}\exp"
        r"\left(z_y^\top z_k^{+}-z_y^\top z_y^{+}\right)\right)+\lambda\,\mathbb{E}\,\Vert z\Vert^2"
    )
    search: ClassVar[Search] = {"norm_weight": Range(3e-4, 0.03)}

    def __init__(self, dim: int, num_classes: int, norm_weight: float = 0.003) -> None:
        super().__init__(dim, num_classes)
        self.norm_weight = norm_weight

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        anchors, positives = first_pairs(labels)
        if not len(anchors):
            return nothing(embeddings)
        left, right = embeddings[anchors], embeddings[positives]
        own = torch.arange(len(anchors), device=labels.device)
        lengths = torch.cat([left, right]).square().sum(1).mean()
        return functional.cross_entropy(left @ right.T, own) + self.norm_weight * lengths


def first_pairs(labels: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
    """Where the first and the second image of every class stand that has two."""
    order = labels.argsort(stable=True)
    sorted_labels = labels[order]
    begins = torch.ones_like(sorted_labels, dtype=torch.bool)
    begins[1:] = sorted_labels[1:] != sorted_labels[:-1]
    has_second = begins[:-1] & ~begins[1:]
    return order[:-1][has_second], order[1:][has_second]
