"""Linear classifiers of many episodes at once: logistic regression and the linear support vector machine.

Both minimize a loss over the scores of the support images plus half the squared weights. The best weights are a
combination of the support embeddings, so what is sought are its coefficients: as many as there are support images,
however long an embedding is.

Where nothing tells classes apart, their scores must be equal, so that a tie is seen as one: they are rounded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from fewshot.models.readouts.base import READOUTS, UnitLengthReadout, support_labels
from fewshot.models.shapes import Query, Scores, Support

_STEPS_OF_ONE = 2**46  # of scores, which are of order 1: what is below is the rounding of double precision

Images: TypeAlias = Float[Tensor, "batch images dim"]
Slope = Callable[[Tensor], Tensor]
"""Scores of the support images (batch, images, way) -> derivative of the loss by each of them."""


def fit_coefficients(
    gram: Float[Tensor, "batch images images"], slope: Slope, curvature: float, way: int, steps: int, *, bias: bool
) -> tuple[Float[Tensor, "batch images way"], Float[Tensor, "batch 1 way"]]:
    """Coefficients A and bias b that minimize ``loss(gram A + b) + trace(A' gram A) / 2``.

    ``curvature`` bounds the second derivative of the loss by the scores. Replacing it by this bound gives a quadratic
    whose matrix is the same in every step and for every class (Boehning 1992), so it is inverted once; Nesterov's
    momentum, set back in every episode where it points uphill (O'Donoghue and Candes 2015), does the rest in a fixed
    number of steps. With ``bias`` the embeddings behind ``gram`` must be centered in each episode, which a free bias
    makes up for; without, b stays 0.
    """
    batch, images, _ = gram.shape
    unit = torch.eye(images, dtype=gram.dtype, device=gram.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature * gram + unit))
    ahead = found = mapped = ahead_mapped = gram.new_zeros(batch, images, way)
    ahead_bias = found_bias = gram.new_zeros(batch, 1, way)
    pace = gram.new_ones(batch, 1, 1)
    for _ in range(steps):
        slopes = slope(ahead_mapped + ahead_bias)
        new = ahead - inverse @ (slopes + ahead)
        new_mapped = gram @ new
        bias_slopes = slopes.sum(1, keepdim=True) if bias else torch.zeros_like(found_bias)
        new_bias = ahead_bias - bias_slopes / (curvature * images)
        step, step_mapped, step_bias = new - found, new_mapped - mapped, new_bias - found_bias
        climb = ((slopes + ahead) * step_mapped).sum((1, 2), keepdim=True)
        climb = climb + (bias_slopes * step_bias).sum((1, 2), keepdim=True)
        pace = torch.where(climb > 0, torch.ones_like(pace), pace)
        next_pace = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        momentum = torch.where(climb > 0, torch.zeros_like(pace), (pace - 1) / next_pace)
        ahead, ahead_mapped = new + momentum * step, new_mapped + momentum * step_mapped
        ahead_bias = new_bias + momentum * step_bias
        found, mapped, found_bias, pace = new, new_mapped, new_bias, next_pace
    return found, found_bias


@dataclass(frozen=True, eq=False)
class LinearScores:
    """A linear classifier of each episode. Embeddings are moved by ``center`` before, where there is one."""

    weights: Float[Tensor, "batch dim way"]
    bias: Float[Tensor, "batch 1 way"]
    center: Float[Tensor, "batch 1 dim"] | None = None

    def __call__(self, query: Query) -> Scores:
        scores = (query if self.center is None else query - self.center) @ self.weights + self.bias
        return (scores * _STEPS_OF_ONE).round() / _STEPS_OF_ONE


class LinearReadout(UnitLengthReadout):
    """A linear classifier of embeddings of length 1."""

    def __init__(self, inverse_penalty: float = 1.0, steps: int = 50) -> None:
        self.inverse_penalty, self.steps = inverse_penalty, steps

    @abstractmethod
    def fit(self, images: Images, labels: Int64[Tensor, " images"], way: int) -> LinearScores:
        """The classifier of labeled images, as many of each class as there are."""

    def logits(self, support: Support, query: Query) -> Scores:
        return self.fit(support.flatten(1, 2), support_labels(support), support.shape[1])(query)


@READOUTS.register("logistic")
class Logistic(LinearReadout):
    """Multinomial logistic regression on embeddings of unit length (Tian et al. 2020, section 3.1).

    Minimizes ``inverse_penalty * sum of cross-entropies + squared weights / 2`` with a free bias: the defaults of
    scikit-learn's LogisticRegression, which the paper's code uses.
    """

    title = "logistic regression: multinomial, on L2-normalized embeddings"
    source = "Tian, Wang, Krishnan, Tenenbaum and Isola, ECCV 2020"
    formula = (
        r"\min_{w,b}\;C\sum_{z_i\in S}-\log\frac{\exp(w_{y_i}^\top\hat z_i+b_{y_i})}{\sum_k\exp(w_k^\top\hat z_i+b_k)}"
        r"+\frac{1}{2}\sum_k\Vert w_k\Vert^2"
    )

    def fit(self, images: Images, labels: Int64[Tensor, " images"], way: int) -> LinearScores:
        center = images.mean(dim=1, keepdim=True)
        images = images - center
        true = functional.one_hot(labels, way).to(images)

        def slope(scores: Tensor) -> Tensor:
            return self.inverse_penalty * (scores.softmax(-1) - true)

        gram = images @ images.transpose(1, 2)
        found, bias = fit_coefficients(gram, slope, self.inverse_penalty / 2, way, self.steps, bias=True)
        return LinearScores(images.transpose(1, 2) @ found, bias, center)


@READOUTS.register("svm")
class LinearSVM(LinearReadout):
    """Linear support vector machines, one class against the rest, on embeddings of unit length.

    Minimizes ``inverse_penalty * sum of squared hinges + squared weights / 2``; the bias is the weight of a constant 1
    and penalized with the others: the defaults of scikit-learn's LinearSVC (LIBLINEAR, Fan et al. 2008, eq. 3).
    """

    title = "linear SVM: one class against the rest, on L2-normalized embeddings"
    source = "Fan, Chang, Hsieh, Wang and Lin, JMLR 2008"
    formula = (
        r"\min_{w_k,b_k}\;C\sum_{z_i\in S}\max\left(0,\;1-t_{ik}(w_k^\top\hat z_i+b_k)\right)^2"
        r"+\frac{1}{2}\left(\Vert w_k\Vert^2+b_k^2\right),\quad t_{ik}=\pm 1"
    )

    def fit(self, images: Images, labels: Int64[Tensor, " images"], way: int) -> LinearScores:
        signs = 2 * functional.one_hot(labels, way).to(images) - 1

        def slope(scores: Tensor) -> Tensor:
            return -2 * self.inverse_penalty * signs * (1 - signs * scores).clamp_min(0)

        gram = images @ images.transpose(1, 2) + 1
        found, _ = fit_coefficients(gram, slope, 2 * self.inverse_penalty, way, self.steps, bias=False)
        return LinearScores(images.transpose(1, 2) @ found, found.sum(1, keepdim=True))
