"""Cross-entropy that also draws each class to a center."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fewshot.models.losses.base import LOSSES, Loss
from fewshot.models.losses.softmax import linear_classifier
from fewshot.models.options import Range, Search


@LOSSES.register("center")
class Center(Loss):
    """Cross-entropy of a linear layer plus ``center_weight / 2`` times the mean squared distance to the class center.

    Wen et al. 2016, eq. 5, with their lambda of 0.003; the mean over the batch stands for their sum. The centers are
    no weights of the optimizer: each training step moves them by ``center_step`` (their alpha of 0.5) times eq. 4,
    toward the images of their class in the batch. They begin at zero.
    """

    title = "Center loss: cross-entropy, and each class is drawn to a learned center"
    source = "Wen, Zhang, Li and Qiao, ECCV 2016"
    formula = (
        r"\mathcal{L}=-\log\frac{\exp(w_y^\top z+b_y)}{\sum_k\exp(w_k^\top z+b_k)}+\frac{\lambda}{2}\Vert z-c_y\Vert^2"
    )
    search: ClassVar[Search] = {"center_weight": Range(3e-4, 0.3)}

    centers: Tensor

    def __init__(self, dim: int, num_classes: int, center_weight: float = 0.003, center_step: float = 0.5) -> None:
        super().__init__(dim, num_classes)
        self.center_weight, self.center_step = center_weight, center_step
        self.classify = linear_classifier(dim, num_classes)
        self.register_buffer("centers", torch.zeros(num_classes, dim))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        cross_entropy = functional.cross_entropy(self.classify(embeddings), labels)
        loss = cross_entropy + self.center_weight * self.center_term(embeddings, labels)
        if self.training:
            self.move_centers(embeddings.detach(), labels)
        return loss

    def center_term(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Half the squared distance to the center of the class, mean over the batch."""
        return (embeddings - self.centers[labels]).square().sum(1).mean() / 2

    def move_centers(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> None:
        """Eq. 4: by the summed difference to the images of the class, over one more than their number."""
        counts = torch.bincount(labels, minlength=len(self.centers)).to(self.centers)
        sums = torch.zeros_like(self.centers).index_add_(0, labels, embeddings.to(self.centers))
        towards = (counts[:, None] * self.centers - sums) / (1 + counts[:, None])
        self.centers = self.centers - self.center_step * towards  # not in place: the gradient needs the old ones
