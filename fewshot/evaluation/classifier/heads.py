"""Read-outs that are one linear layer, fitted once to labeled embeddings, as many of each class as there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.models.readouts.linear import LinearReadout, LinearSVM, Logistic


@dataclass(frozen=True, eq=False)
class Head:
    """``embeddings @ weights.T + bias`` are the scores, of embeddings brought to ``unit_length`` before, if so."""

    weights: Float[Tensor, "way dim"]
    bias: Float[Tensor, " way"]
    unit_length: bool

    def scores(self, rows: Float[Tensor, "images dim"]) -> Float[Tensor, "images way"]:
        """A score for each class."""
        rows = normalize(rows) if self.unit_length else rows
        return rows @ self.weights.T + self.bias


Fit = Callable[[Float[Tensor, "images dim"], Int64[Tensor, " images"], int], Head]


def _prototype(rows: Tensor, labels: Tensor, way: int) -> Head:
    """Minus the squared distance of q and p, but for what all classes share: ``2 q p - |p|^2``, about a common center.

    Without the center, which changes no answer, what lies close together far from zero would lose its digits.
    """
    center = rows.mean(0)
    means = class_means(rows - center, labels, way)
    return Head(2 * means, -means.square().sum(-1) - 2 * means @ center, unit_length=False)


def _cosine(rows: Tensor, labels: Tensor, way: int) -> Head:
    means = normalize(class_means(rows, labels, way))
    return Head(means, means.new_zeros(way), unit_length=True)


def _linear(readout: LinearReadout, rows: Tensor, labels: Tensor, way: int) -> Head:
    """The center, which is subtracted from embeddings, moves into the bias."""
    found = readout.fit(normalize(rows.double())[None], labels, way)
    weights, bias = found.weights[0], found.bias[0, 0]
    if found.center is not None:
        bias = bias - found.center[0, 0] @ weights
    return Head(weights.T.to(rows.dtype).contiguous(), bias.to(rows.dtype), unit_length=True)


def class_means(
    rows: Float[Tensor, "images dim"], labels: Int64[Tensor, " images"], way: int
) -> Float[Tensor, "way dim"]:
    """The mean embedding of each class."""
    sums = rows.new_zeros(way, rows.shape[1]).index_add_(0, labels, rows)
    return sums / torch.bincount(labels, minlength=way).unsqueeze(-1)


HEADS: Mapping[str, Fit] = {
    "prototype": _prototype,
    "cosine": _cosine,
    "logistic": partial(_linear, Logistic()),
    "svm": partial(_linear, LinearSVM()),
}
"""By the name of the read-out whose answers they give."""
