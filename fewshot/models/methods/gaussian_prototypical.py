"""Gaussian Prototypical Networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewshot.models.distances import root
from fewshot.models.encoders.base import Encoder
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.options import Search
from fewshot.models.shapes import Scores


@METHODS.register("gaussian-proto")
class GaussianPrototypical(Method):
    """Prototypes weighted by the encoder's own confidence in each image (Fort 2017, eq. 5-8).

    The encoder gives ``D`` coordinates and the raw numbers of an inverse covariance: one for all directions
    (``radius``) or one for each (``diagonal``). The distance is the root of the weighted square, not the square.
    """

    title = "Gaussian Prototypical Networks: prototypes weighted by the encoder's confidence"
    source = "Fort, arXiv 1708.02735, 2017"
    formula = (
        r"p(y=k\,|\,x)\propto\exp\left(-\sqrt{(f(x)-c_k)^\top M_k\,(f(x)-c_k)}\right),\quad "
        r"M_k=\sum_{x_i\in S_k}M(x_i),\quad c_k=M_k^{-1}\sum_{x_i\in S_k}M(x_i)\,f(x_i)"
    )
    search: ClassVar[Search] = {"form": ("softplus", "sigmoid", "sigmoid-4")}
    default_encoder = "conv4-gaussian"

    def __init__(
        self,
        encoder: Encoder,
        covariance: Literal["radius", "diagonal"] = "radius",
        form: Literal["softplus", "sigmoid", "sigmoid-4"] = "softplus",
    ) -> None:
        super().__init__(encoder)
        self.form = form
        self.dim = encoder.dim - 1 if covariance == "radius" else encoder.dim // 2

    @classmethod
    def encoder_needs(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """One more output of the encoder for a radius, as many again for a diagonal."""
        return {"covariance": options.get("covariance", "radius")}

    def confidence(self, embeddings: Float[Tensor, "*batch numbers"]) -> Float[Tensor, "*batch s"]:
        """The inverse variances, 1 or more: (..., 1) or (..., D)."""
        raw = embeddings[..., self.dim :]
        if self.form == "softplus":
            return 1 + functional.softplus(raw)
        return 1 + (4 if self.form == "sigmoid-4" else 1) * raw.sigmoid()

    def logits(
        self,
        support: Float[Tensor, "batch way shot numbers"],
        query: Float[Tensor, "batch queries numbers"],
        unlabeled: Float[Tensor, "batch unlabeled numbers"] | None = None,
    ) -> Scores:
        confidence, points = self.confidence(support), support[..., : self.dim]
        of_class = confidence.sum(2)  # (batch, way, s)
        prototypes = (confidence * points).sum(2) / of_class  # (batch, way, dim)
        offsets = query[:, :, None, : self.dim] - prototypes[:, None]  # (batch, queries, way, dim)
        squares = (of_class[:, None] * offsets.square()).sum(-1)
        return -root(squares)

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        return super().peak_elements(way, shot, queries, unlabeled) + 3 * queries * way * self.dim
