"""Cross-entropy that also draws each class to a center."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from fewshot.losses.base import LOSSES, Loss
from fewshot.losses.softmax import linear_classifier


@LOSSES.register("center")
class Center(Loss):
    """Cross-entropy of a linear layer plus ``center_weight / 2`` times the mean squared distance to the class center.

    Wen et al. 2016, eq. 5, with their lambda of 0.003; the mean over the batch stands for their sum. One departure:
    the centers follow the optimizer's gradient instead of the paper's own update rule (eq. 4). They begin at zero.
    """

    title = "Cross-entropy with center loss: each class is drawn to a learned center"
    source = "Wen, Zhang, Li and Qiao, ECCV 2016"

    def __init__(self, dim: int, num_classes: int, center_weight: float = 0.003) -> None:
        super().__init__(dim, num_classes)
        self.center_weight = center_weight
        self.classify = linear_classifier(dim, num_classes)
        self.centers = nn.Parameter(torch.zeros(num_classes, dim))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        cross_entropy = functional.cross_entropy(self.classify(embeddings), labels)
        return cross_entropy + self.center_weight * self.center_term(embeddings, labels)

    def center_term(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Half the squared distance to the center of the class, mean over the batch."""
        return (embeddings - self.centers[labels]).square().sum(1).mean() / 2
