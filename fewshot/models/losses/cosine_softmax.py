"""Cross-entropy of scaled cosines to one weight vector a class."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.distances import cosine_similarity
from fewshot.models.losses.base import LOSSES, Loss
from fewshot.models.options import Range, Search


@LOSSES.register("cosine-softmax")
class CosineSoftmax(Loss):
    """Softmax over ``scale`` times the cosine of embedding and class weight (Chen et al. 2019, Baseline++).

    The paper fixes the lengths; its released code learns the length of each class's weight, which is
    ``class_norm=True`` (every length begins at 1). Its scale is 2 up to 200 classes and 10 above; a normalized softmax
    of temperature 0.05 (Zhai and Wu 2019) is scale 20.
    """

    title = "Baseline++ (cosine softmax): cosine classifier over the training classes, cross-entropy"
    source = "Chen et al., ICLR 2019, Baseline++"
    formula = r"\mathcal{L}=-\log\frac{\exp(s\cos(z,w_y))}{\sum_k\exp(s\cos(z,w_k))}"
    search: ClassVar[Search] = {"scale": Range(3.0, 60.0)}
    on_unit_sphere = True

    def __init__(self, dim: int, num_classes: int, scale: float = 10.0, class_norm: bool = False) -> None:
        super().__init__(dim, num_classes)
        self.scale = scale
        self.weights = nn.Parameter(torch.randn(num_classes, dim))
        self.norms = nn.Parameter(torch.ones(num_classes)) if class_norm else None

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        logits = self.scale * cosine_similarity(embeddings, self.weights)  # (n, num_classes)
        return functional.cross_entropy(logits if self.norms is None else logits * self.norms, labels)
