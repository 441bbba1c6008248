"""The multi-class support vector machine as a training loss."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fewshot.models.losses.base import LOSSES, Loss
from fewshot.models.losses.softmax import linear_classifier
from fewshot.models.options import Range, Search


@LOSSES.register("hinge")
class Hinge(Loss):
    """``sum over wrong classes of max(0, margin + wrong score - right score)`` of a linear layer.

    Weston and Watkins 1999, eq. 6; with scores of zero it is num_classes - 1. ``crammer-singer`` keeps the largest
    term alone (Crammer and Singer 2001, eq. 5: 1). ``reduction="mean"`` divides by the number of classes, as PyTorch's
    multi-margin loss does: (num_classes - 1) / num_classes. ``squared`` squares each term, so that far violations count
    more and near ones less. To all this comes half of ``regularization`` times the squared length of the weights.
    """

    title = "Multi-class hinge loss: of a linear classifier (support vector machine)"
    source = "Weston and Watkins, ESANN 1999; Crammer and Singer, JMLR 2001"
    formula = (
        r"\mathcal{L}=\sum_{k\neq y}\max\left(0,\;m+w_k^\top z+b_k-w_y^\top z-b_y\right)+\frac{\lambda}{2}"
        r"\sum_k\Vert w_k\Vert^2"
    )
    search: ClassVar[Search] = {"margin": Range(0.3, 10.0)}

    def __init__(
        self,
        dim: int,
        num_classes: int,
        multiclass: Literal["weston-watkins", "crammer-singer"] = "weston-watkins",
        squared: bool = False,
        reduction: Literal["sum", "mean"] = "sum",
        margin: float = 1.0,
        regularization: float = 1e-4,
    ) -> None:
        super().__init__(dim, num_classes)
        self.multiclass, self.squared, self.reduction = multiclass, squared, reduction
        self.margin, self.regularization = margin, regularization
        self.classify = linear_classifier(dim, num_classes)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        scores = self.classify(embeddings)  # (n, num_classes)
        right = scores.gather(1, labels[:, None])
        wrong = labels[:, None] != torch.arange(self.num_classes, device=labels.device)
        terms = torch.where(wrong, (self.margin + scores - right).clamp_min(0), 0)
        if self.squared:
            terms = terms.square()
        if self.multiclass == "crammer-singer":
            violations = terms.amax(1)
        else:
            violations = terms.sum(1) / (self.num_classes if self.reduction == "mean" else 1)
        return violations.mean() + self.regularization / 2 * self.classify.weight.square().sum()
