"""Pairs with a margin."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fewshot.models.distances import root, squared_euclidean
from fewshot.models.losses.base import LOSSES, Loss, mean_of, pairs_in
from fewshot.models.options import Range, Search


@LOSSES.register("contrastive")
class Contrastive(Loss):
    """``distance^2 / 2`` on positive pairs, ``max(0, margin - distance)^2 / 2`` on negative ones, of unit embeddings.

    Hadsell, Chopra and LeCun 2006, eq. 4. pytorch-metric-learning's loss of that name does not square. Both kinds of
    pairs weigh the same, however many there are. ``selection="hard"`` keeps, for each image, the farthest image of its
    class and the nearest of another.
    """

    title = "Contrastive loss: pairs of a batch, alike near, others a margin apart"
    source = "Hadsell, Chopra and LeCun, CVPR 2006"
    formula = (
        r"\mathcal{L}=\frac{1}{2|P|}\sum_{(i,j)\in P}d_{ij}^2+"
        r"\frac{1}{2|M|}\sum_{(i,j)\in M}\max(0,\;m-d_{ij})^2,\quad d_{ij}=\Vert\hat z_i-\hat z_j\Vert"
    )
    search: ClassVar[Search] = {"margin": Range(0.3, 1.8)}
    on_unit_sphere = True

    def __init__(
        self, dim: int, num_classes: int, margin: float = 1.0, selection: Literal["all", "hard"] = "all"
    ) -> None:
        super().__init__(dim, num_classes)
        self.margin, self.selection = margin, selection

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        unit = functional.normalize(embeddings, dim=-1)
        squares = squared_euclidean(unit, unit)
        positive, negative = pairs_in(labels)
        near = squares / 2
        far = (self.margin - root(squares)).clamp_min(0).square() / 2
        if self.selection == "hard":  # the costliest pair of each image
            near, far = (torch.where(pairs, cost, 0).amax(1) for pairs, cost in ((positive, near), (negative, far)))
            positive, negative = positive.any(1), negative.any(1)
        return mean_of(near, positive) + mean_of(far, negative)
