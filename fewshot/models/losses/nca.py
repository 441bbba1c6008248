"""Neighborhood components analysis over a batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fewshot.models.distances import squared_euclidean
from fewshot.models.losses.base import LOSSES, Loss, mean_of, pairs_in
from fewshot.models.options import Range, Search


@LOSSES.register("nca")
class NCA(Loss):
    """``-log`` of the softmax of minus squared distances that falls on images of the own class, mean over the batch.

    Goldberger et al. 2004, eq. 1 and the logarithm of section 2; on embeddings of free length, as Laenen and Bertinetto
    2021 train it for few shots. pytorch-metric-learning takes the logarithm of a sum that underflows at such distances
    and then leaves the image out; here the sum is made of logarithms. An image without a partner takes no part.
    """

    title = "Neighborhood Components Analysis: the softmax over neighbors that falls on the own class"
    source = "Goldberger, Roweis, Hinton and Salakhutdinov, NeurIPS 2004"
    formula = (
        r"\mathcal{L}=-\log\frac{\sum_{j\neq i,\,y_j=y_i}\exp(-s\,\Vert z_i-z_j\Vert^2)}{\sum_{j\neq i}"
        r"\exp(-s\,\Vert z_i-z_j\Vert^2)}"
    )
    search: ClassVar[Search] = {"scale": Range(0.1, 10.0)}

    def __init__(self, dim: int, num_classes: int, scale: float = 1.0) -> None:
        super().__init__(dim, num_classes)
        self.scale = scale

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        logits = -self.scale * squared_euclidean(embeddings, embeddings)
        positive, negative = pairs_in(labels)
        has_partner = positive.any(1)
        on_others = torch.logsumexp(logits[has_partner].masked_fill(~(positive | negative)[has_partner], -torch.inf), 1)
        on_class = torch.logsumexp(logits[has_partner].masked_fill(~positive[has_partner], -torch.inf), 1)
        costs = on_others - on_class
        return mean_of(costs, torch.ones_like(costs, dtype=torch.bool)) + 0 * logits.sum()
