"""Self-supervised losses: two augmented views of each image find each other."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.losses.base import LOSSES, Loss
from fewshot.models.options import Range, Search


class TwoViews(Loss):
    """A projection head behind the embedding, and a loss on unit projections of two views. The test drops the head.

    ``labels`` only says which views were made of one image: 0 to n/2 - 1, twice.
    """

    on_unit_sphere: ClassVar[bool] = True
    self_supervised: ClassVar[bool] = True
    views: ClassVar[int] = 2

    def __init__(self, dim: int, num_classes: int, temperature: float, projection: int) -> None:
        super().__init__(dim, num_classes)
        self.temperature = temperature
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection, bias=False))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        unit = functional.normalize(self.project(embeddings), dim=-1)
        return self.on_projections(unit, labels)

    @abstractmethod
    def on_projections(self, unit: Float[Tensor, "n projection"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss of unit projections, the first views of all images before the second."""


@LOSSES.register("nt-xent")
class NTXent(TwoViews):
    """Each view finds the other one among all other views: 2N - 1 of them (Chen et al. 2020, SimCLR, eq. 1).

    Equal projections cost log(2N - 1). pytorch-metric-learning has the same formula, over a table of positive pairs
    times negative pairs: the cube of the batch.
    """

    title = "SimCLR (NT-Xent): two views of an image find each other among all views; no labels"
    source = "Chen, Kornblith, Norouzi and Hinton, ICML 2020 (SimCLR)"
    formula = (
        r"\mathcal{L}=-\log\frac{\exp(\cos(z_i,z_i')/\tau)}{\sum_{v\neq z_i}\exp(\cos(z_i,v)/\tau)}"
        r",\quad v\in\{z_1,\ldots,z_n,z_1',\ldots,z_n'\}"
    )
    search: ClassVar[Search] = {"temperature": Range(0.05, 1.0)}

    def __init__(self, dim: int, num_classes: int, temperature: float = 0.5, projection: int = 64) -> None:
        super().__init__(dim, num_classes, temperature, projection)

    def on_projections(self, unit: Float[Tensor, "n projection"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        logits = (unit @ unit.T / self.temperature).masked_fill(itself, -torch.inf)
        partner = (labels[:, None] == labels) & ~itself
        return functional.cross_entropy(logits, partner.to(torch.uint8).argmax(1))


@LOSSES.register("infonce")
class InfoNCE(TwoViews):
    """The first view of an image finds its second view among the second views of all images, N of them.

    van den Oord, Li and Vinyals 2018, eq. 4, with the other images of the batch as negatives and the temperature 0.07
    of MoCo (He et al. 2020). Equal projections cost log N.
    """

    title = "InfoNCE: the first view of an image finds its second among those of all images; no labels"
    source = "van den Oord, Li and Vinyals, 2018"
    formula = r"\mathcal{L}=-\log\frac{\exp(\cos(z_i,z_i')/\tau)}{\sum_j\exp(\cos(z_i,z_j')/\tau)}"
    search: ClassVar[Search] = {"temperature": Range(0.05, 1.0)}

    def __init__(self, dim: int, num_classes: int, temperature: float = 0.07, projection: int = 64) -> None:
        super().__init__(dim, num_classes, temperature, projection)

    def on_projections(self, unit: Float[Tensor, "n projection"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        first, second = unit.chunk(2)
        own = (labels[: len(first), None] == labels[len(first) :]).to(torch.uint8).argmax(1)
        return functional.cross_entropy(first @ second.T / self.temperature, own)
