"""Baseline's read-out: a linear layer trained by SGD on the support, its very steps, for many episodes at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fewshot.models.readouts.base import READOUTS, Readout, UnfitEmbeddingsError, support_labels
from fewshot.models.shapes import Query, Scores, Support, Table

_LONGEST, _SHORTEST = 1e3, 0.1
"""Lengths of embeddings beyond which steps of a fixed size diverge, or do not get away from the first weights."""


@READOUTS.register("finetune")
class Finetune(Readout):
    """100 passes of SGD over the support in batches of 4 (Chen et al. 2019, section 3.2 and the released code).

    Cross-entropy, learning rate 0.01, momentum 0.9, dampening 0.9 (as in PyTorch it spares the first step), weight
    decay 0.001, embeddings as they are. The layer starts as torch.nn.Linear does. Its first weights and the order of
    the images in every pass are drawn once from ``seed`` and serve all episodes, where the released code draws new
    ones for each.
    """

    title = "fine-tuned linear layer: 100 passes of SGD over the support in batches of 4 (Baseline's head)"
    source = "Chen, Liu, Kira, Wang and Huang, ICLR 2019"
    formula = r"\min_{w,b}\;\sum_{z_i\in S}-\log\frac{\exp(w_{y_i}^\top z_i+b_{y_i})}{\sum_k\exp(w_k^\top z_i+b_k)}"

    def __init__(self, passes: int = 100, batch_size: int = 4, learning_rate: float = 0.01, seed: int = 0) -> None:
        self.passes, self.batch_size, self.learning_rate, self.seed = passes, batch_size, learning_rate, seed
        self.momentum, self.dampening, self.weight_decay = 0.9, 0.9, 1e-3

    def prepare(self, table: Table, train_mean: Float[Tensor, " dim"] | None = None) -> Table:
        """The rows as they are: offset and scale matter to steps of a fixed size."""
        longest = float(torch.linalg.vector_norm(table.double(), dim=-1).max())
        apart = float(torch.linalg.vector_norm(table.amax(0).double() - table.amin(0).double()))
        if longest > _LONGEST or 0 < apart < _SHORTEST:
            what = f"are up to {longest:.0e} long" if longest > _LONGEST else f"differ by {apart:.0e} at most"
            raise UnfitEmbeddingsError(
                f"finetune takes steps of a fixed size (learning rate {self.learning_rate}) on embeddings as they are, "
                f"and these {what}: bring them to a length near 1 and center them, or choose another read-out"
            )
        return table.float()

    def logits(self, support: Support, query: Query) -> Scores:
        labels, way = support_labels(support), support.shape[1]
        images = support.flatten(1, 2)
        weights, bias, orders = self.draw(way, images.shape[1], images.shape[2])
        weights, bias = weights.to(images), bias.to(images)
        head = _Head(images, weights, bias, functional.one_hot(labels, way).to(images))
        for order in orders.to(images.device):
            for rows in torch.split(order, self.batch_size):
                head.descend(rows, self.learning_rate, self.momentum, self.dampening, self.weight_decay)
        found = head.kept * weights.T + images.transpose(1, 2) @ head.coefficients  # (batch, dim, way)
        return query @ found + head.bias

    def draw(
        self, way: int, images: int, dim: int
    ) -> tuple[Float[Tensor, "way dim"], Float[Tensor, " way"], Int64[Tensor, "passes images"]]:
        """First weights and bias, uniform within ``1 / sqrt(dim)``, and the order of the images in every pass."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = (2 * torch.rand(way, dim + 1, generator=generator) - 1) / math.sqrt(dim)
        orders = torch.stack([torch.randperm(images, generator=generator) for _ in range(self.passes)])
        return drawn[:, :dim], drawn[:, dim], orders


@dataclass
class _Head:
    """A linear layer in training, one for each episode.

    Every gradient is a combination of support embeddings, so the weights are ``kept * first weights + coefficients'
    support`` at all times: a step changes coefficients, of which there are fewer than weights.
    """

    images: Float[Tensor, "batch images dim"]
    first_weights: Float[Tensor, "way dim"]
    first_bias: Float[Tensor, " way"]
    true: Float[Tensor, "images way"]

    def __post_init__(self) -> None:
        batch, images, _ = self.images.shape
        way = len(self.first_weights)
        self.gram = self.images @ self.images.transpose(1, 2)
        self.first_scores = self.images @ self.first_weights.T  # (batch, images, way)
        self.coefficients = self.images.new_zeros(batch, images, way)
        self.bias = self.first_bias.expand(batch, 1, way).clone()
        self.kept, self.kept_speed = 1.0, 0.0
        self.speed, self.bias_speed = torch.zeros_like(self.coefficients), torch.zeros_like(self.bias)
        self.steps = 0

    def descend(
        self, rows: Int64[Tensor, " chosen"], rate: float, momentum: float, dampening: float, decay: float
    ) -> None:
        """One step of torch.optim.SGD on the mean cross-entropy of the support images ``rows``."""
        scores = self.gram[:, rows] @ self.coefficients + self.kept * self.first_scores[:, rows] + self.bias
        slopes = (scores.softmax(-1) - self.true[rows]) / len(rows)
        share = 1 - dampening if self.steps else 1.0
        self.speed.mul_(momentum).add_(self.coefficients, alpha=share * decay)
        self.speed.index_add_(1, rows, slopes, alpha=share)
        self.bias_speed.mul_(momentum).add_(slopes.sum(1, keepdim=True) + decay * self.bias, alpha=share)
        self.kept_speed = momentum * self.kept_speed + share * decay * self.kept
        self.coefficients.add_(self.speed, alpha=-rate)
        self.bias.add_(self.bias_speed, alpha=-rate)
        self.kept -= rate * self.kept_speed
        self.steps += 1
