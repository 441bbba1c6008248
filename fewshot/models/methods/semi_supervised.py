"""Prototypes refined with unlabeled images."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot.models.distances import squared_euclidean
from fewshot.models.encoders.base import Encoder
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.options import Range, Search
from fewshot.models.shapes import Query, Scores, Support, Unlabeled

Prototypes: TypeAlias = Float[Tensor, "batch way dim"]
Weights: TypeAlias = Float[Tensor, "batch unlabeled way"]


class RefinedPrototypical(Method):
    """Class means, moved once by unlabeled images (Ren et al. 2018, section 3); without any, Prototypical Networks."""

    uses_unlabeled: ClassVar[bool] = True
    invariant_to = frozenset({"offset"})

    def logits(self, support: Support, query: Query, unlabeled: Unlabeled | None = None) -> Scores:
        prototypes = support.mean(dim=2)  # (batch, way, dim)
        if unlabeled is not None:
            weights = self.weights(prototypes, unlabeled)  # (batch, unlabeled, way)
            moved = support.sum(dim=2) + weights.transpose(-1, -2) @ unlabeled
            prototypes = moved / (support.shape[2] + weights.sum(dim=1).unsqueeze(-1))
        return -squared_euclidean(query, prototypes)

    @abstractmethod
    def weights(self, prototypes: Prototypes, unlabeled: Unlabeled) -> Weights:
        """How much each unlabeled image counts for each class, 0 to 1."""


@METHODS.register("soft-kmeans-proto")
class SoftKMeansPrototypical(RefinedPrototypical):
    """An unlabeled image belongs to the classes in proportion to the softmax of minus its distances (Ren, eq. 3-4)."""

    title = "Soft k-Means: prototypes moved by one step of it on unlabeled images"
    source = "Ren et al., ICLR 2018"
    formula = (
        r"\tilde c_k=\frac{\sum_{x_i\in S_k}f(x_i)+\sum_j w_{jk}f(u_j)}{K+\sum_j w_{jk}},\quad "
        r"w_{jk}=\frac{\exp(-\Vert f(u_j)-c_k\Vert^2)}{\sum_l\exp(-\Vert f(u_j)-c_l\Vert^2)}"
    )

    def weights(self, prototypes: Prototypes, unlabeled: Unlabeled) -> Weights:
        return (-squared_euclidean(unlabeled, prototypes)).softmax(-1)


@METHODS.register("cluster-proto")
class ClusterPrototypical(RefinedPrototypical):
    """Soft k-means with one more cluster, at the origin, of learned radius, for what is of no class (Ren, eq. 5-7).

    Real classes have radius 1. Assignments: softmax of ``-distance / radius^2 - log(radius) - log(2 pi) / 2``; the
    released code halves the distance.
    """

    title = "Soft k-Means+Cluster: the same with a distractor cluster of learned radius"
    source = "Ren et al., ICLR 2018"
    formula = (
        r"w_{jk}\propto\frac{1}{r_k\sqrt{2\pi}}\exp\left(-\frac{\Vert f(u_j)-c_k\Vert^2}{r_k^2}\right),\quad "
        r"k=0,\ldots,N,\quad c_0=0,\quad r_1=\ldots=r_N=1"
    )
    search: ClassVar[Search] = {"initial_radius": Range(10.0, 1000.0)}

    def __init__(self, encoder: Encoder, initial_radius: float = 100.0) -> None:
        super().__init__(encoder)
        self.invariant_to = frozenset()  # the further cluster lies at the origin
        self.log_radius = nn.Parameter(torch.tensor(math.log(initial_radius)))

    def weights(self, prototypes: Prototypes, unlabeled: Unlabeled) -> Weights:
        real = -squared_euclidean(unlabeled, prototypes)
        distractor = -unlabeled.square().sum(-1, keepdim=True) / (2 * self.log_radius).exp() - self.log_radius
        return torch.cat([real, distractor], dim=-1).softmax(-1)[..., :-1]


@METHODS.register("masked-proto")
class MaskedPrototypical(RefinedPrototypical):
    """Soft k-means that masks the images too far from a prototype (Ren, eq. 8-11).

    Distances are taken relative to their mean over the unlabeled images; from their minimum, maximum, variance,
    skewness and kurtosis a small network tells the threshold and the slope of each class's mask. Both are made
    positive by an exponential, as in the released code; the mask counts once, as in the paper.
    """

    title = "Masked Soft k-Means: the same, masked by a learned threshold on the distance"
    source = "Ren et al., ICLR 2018"
    formula = (
        r"w_{jk}=m_{jk}\,\frac{\exp(-d_{jk})}{\sum_l\exp(-d_{jl})},\quad "
        r"m_{jk}=\sigma\left(-\gamma_k\left(\frac{d_{jk}}{\bar d_k}-\beta_k\right)\right),\quad "
        r"d_{jk}=\Vert f(u_j)-c_k\Vert^2"
    )

    must_train = "mask network"

    def __init__(self, encoder: Encoder, hidden: int = 20) -> None:
        super().__init__(encoder)
        self.mask_network = nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, 2))

    def weights(self, prototypes: Prototypes, unlabeled: Unlabeled) -> Weights:
        distances = squared_euclidean(unlabeled, prototypes)
        relative = distances / distances.mean(dim=1, keepdim=True).clamp_min(1e-6)  # (batch, unlabeled, way)
        shape: Tensor = self.mask_network(moments(relative.detach())).exp()
        threshold, slope = shape.unsqueeze(1).unbind(-1)  # (batch, 1, way) each
        mask = (-slope * (relative - threshold)).sigmoid()
        return (-distances).softmax(-1) * mask


def moments(values: Float[Tensor, "batch n way"]) -> Float[Tensor, "batch way 5"]:
    """Minimum, maximum, variance, skewness and excess kurtosis over the second axis."""
    centered = values - values.mean(dim=1, keepdim=True)
    variance = centered.square().mean(dim=1)
    deviation = variance.sqrt().clamp_min(1e-6)
    skewness = centered.pow(3).mean(dim=1) / deviation.pow(3)
    kurtosis = centered.pow(4).mean(dim=1) / deviation.pow(4) - 3
    return torch.stack([values.amin(dim=1), values.amax(dim=1), variance, skewness, kurtosis], dim=-1)
