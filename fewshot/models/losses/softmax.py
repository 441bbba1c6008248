"""Cross-entropy with a linear layer."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.losses.base import LOSSES, Loss

_FIRST_WEIGHTS = 0.01  # standard deviation: logits begin near zero, hence the loss at the logarithm of the classes


def linear_classifier(dim: int, num_classes: int) -> nn.Linear:
    """A linear layer from embeddings to class scores that begin near zero."""
    linear = nn.Linear(dim, num_classes)
    nn.init.normal_(linear.weight, 0, _FIRST_WEIGHTS)
    nn.init.zeros_(linear.bias)
    return linear


@LOSSES.register("softmax")
class Softmax(Loss):
    """Cross-entropy of a linear layer over all training classes (the Baseline of Chen et al. 2019).

    It begins at ``log(num_classes)``.
    """

    title = "Baseline (softmax): linear classifier over the training classes, cross-entropy"
    source = "Chen et al., ICLR 2019, Baseline"
    formula = r"\mathcal{L}=-\log\frac{\exp(w_y^\top z+b_y)}{\sum_k\exp(w_k^\top z+b_k)}"

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__(dim, num_classes)
        self.classify = linear_classifier(dim, num_classes)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        return functional.cross_entropy(self.classify(embeddings), labels)
