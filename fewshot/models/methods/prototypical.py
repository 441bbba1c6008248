"""Prototypical Networks."""

from __future__ import annotations

from typing import Literal

from fewshot.models.distances import UNMOVED, cosine_similarity, nearest_mean_logits
from fewshot.models.encoders.base import Encoder
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.shapes import Query, Scores, Support, Unlabeled


@METHODS.register("proto")
class Prototypical(Method):
    """Nearest class mean in embedding space (Snell et al. 2017, eq. 1-2).

    The logit of class k is ``-|f(x) - c_k|^2``, where ``c_k`` is the mean of ``f`` over the support of the class: the
    distance is the squared Euclidean one, not its root. ``distance="cosine"`` is the comparison of the paper's
    Figure 2: logits are then the bare cosines, and the softmax over them is nearly flat.
    """

    title = "Prototypical Networks: nearest class mean, squared Euclidean distance"
    source = "Snell, Swersky and Zemel, NeurIPS 2017"
    formula = (
        r"p(y=k\,|\,x)\propto\exp\left(-\Vert f(x)-c_k\Vert^2\right),\quad "
        r"c_k=\frac{1}{K}\sum_{x_i\in S_k}f(x_i)"
    )

    def __init__(self, encoder: Encoder, distance: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__(encoder)
        self.distance = distance
        self.invariant_to = UNMOVED if distance == "euclidean" else frozenset({"scale"})

    def logits(self, support: Support, query: Query, unlabeled: Unlabeled | None = None) -> Scores:
        if self.distance == "cosine":
            return cosine_similarity(query, support.mean(dim=2))
        return nearest_mean_logits(support, query)
