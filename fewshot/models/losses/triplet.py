"""Anchor, positive and negative."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fewshot.models.distances import squared_euclidean
from fewshot.models.losses.base import LOSSES, Loss, mean_of, pairs_in
from fewshot.models.options import Range, Search


@LOSSES.register("triplet")
class Triplet(Loss):
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, d the squared distance of unit embeddings.

    Schroff et al. 2015 (FaceNet), eq. 3; the mean over the selected triplets. ``all``: every triplet of the batch.
    ``semi-hard``: those whose negative is farther than the positive, by less than the margin (section 3.2); where
    there is none the loss is zero. ``hard``: for each anchor its farthest positive and nearest negative (Hermans,
    Beyer and Leibe 2017, eq. 5).
    """

    title = "Triplet loss: on the triplets of a batch of P classes with K images each"
    source = "Schroff, Kalenichenko and Philbin, CVPR 2015 (FaceNet)"
    formula = r"\mathcal{L}=\max\left(0,\;\Vert\hat z_a-\hat z_p\Vert^2-\Vert\hat z_a-\hat z_n\Vert^2+m\right)"
    search: ClassVar[Search] = {"margin": Range(0.05, 1.0)}
    on_unit_sphere = True

    def __init__(
        self,
        dim: int,
        num_classes: int,
        margin: float = 0.2,
        selection: Literal["semi-hard", "all", "hard"] = "semi-hard",
    ) -> None:
        super().__init__(dim, num_classes)
        self.margin, self.selection = margin, selection

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        unit = functional.normalize(embeddings, dim=-1)
        distances = squared_euclidean(unit, unit)
        positive, negative = pairs_in(labels)
        if self.selection == "hard":
            farthest = torch.where(positive, distances, 0).amax(1)
            nearest = torch.where(negative, distances, torch.inf).amin(1)
            complete = positive.any(1) & negative.any(1)
            gaps = farthest - torch.where(complete, nearest, 0)
            return mean_of((gaps + self.margin).clamp_min(0), complete)
        anchor, partner = positive.nonzero(as_tuple=True)
        gaps = distances[anchor, partner][:, None] - distances[anchor]  # (positive pairs, n)
        chosen = negative[anchor]
        if self.selection == "semi-hard":
            chosen = chosen & (gaps < 0) & (gaps > -self.margin)
        return mean_of((gaps + self.margin).clamp_min(0), chosen)
