"""alpha-TIM: mutual information by alpha-entropies, which does not take classes to have the same number of queries."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot.models.readouts.base import READOUTS, support_shares
from fewshot.models.readouts.span import SpanWeights
from fewshot.models.readouts.tim import TEMPERATURE, TemperedReadout
from fewshot.models.shapes import Query, Scores, Support

_MEAN_KEPT, _SQUARE_KEPT, _TINY = 0.9, 0.999, 1e-8  # Adam's, as PyTorch has them


@READOUTS.register("alpha-tim")
class AlphaTIM(TemperedReadout):
    """Cross-entropy of the support less the alpha mutual information of the queries (Veilleux et al. 2021, eq. 5-8).

    ``H_alpha(p) = (1 - sum of p^alpha) / (alpha - 1)``: of the mean answer it is to be large, of each answer small; all
    weights are 1. As in the released code alpha is 2 at fewer than 5 shots, else 7, and the class weights, which start
    as the class means, take 1000 steps of Adam at the rate 1e-4 on embeddings of unit length. Adam divides by a mean
    square for each number of a weight; here it is one for each class, the mean over its numbers. Such steps stay in the
    span of the episode's images, where they cost a fraction.
    """

    title = "alpha-TIM: mutual information by alpha-entropies, by gradient descent"
    source = "Veilleux, Boudiaf, Piantanida and Ben Ayed, NeurIPS 2021"
    formula = (
        r"\min_w\;\mathrm{CE}(S)-H_\alpha(\bar p)+\frac{1}{|Q|}\sum_{q\in Q}H_\alpha(p_q),\quad "
        r"H_\alpha(p)=\frac{1}{\alpha-1}\left(1-\sum_k p_k^\alpha\right)"
    )
    transductive = True

    def __init__(self, alpha: float | None = None, learning_rate: float = 1e-4, steps: int = 1000) -> None:
        self.alpha, self.learning_rate, self.steps = alpha, learning_rate, steps

    def logits(self, support: Support, query: Query) -> Scores:
        alpha = self.alpha if self.alpha is not None else 2.0 if support.shape[2] < 5 else 7.0
        weights = SpanWeights.of_means(support, query)
        true, tiny = support_shares(support), _TINY / TEMPERATURE
        mean, mapped = torch.zeros_like(weights.products), torch.zeros_like(weights.products)
        square = weights.products.new_zeros(len(support), support.shape[1], 1)
        for step in range(1, self.steps + 1):
            slopes = loss_slopes((TEMPERATURE * weights.scores()).softmax(1), true, alpha)
            totals = slopes.sum(-1, keepdim=True)
            gradient = torch.addcmul(slopes, totals, weights.coefficients, value=-1)  # over the temperature, as is tiny
            products = torch.addcmul(slopes @ weights.gram, totals, weights.products, value=-1)
            mean.lerp_(gradient, 1 - _MEAN_KEPT)
            mapped.lerp_(products, 1 - _MEAN_KEPT)
            length = torch.linalg.vecdot(gradient, products).unsqueeze(-1).clamp_min(0)
            square.lerp_(length / support.shape[3], 1 - _SQUARE_KEPT)
            root = (square / (1 - _SQUARE_KEPT**step)).sqrt() + tiny
            pace = self.learning_rate / (1 - _MEAN_KEPT**step) / root
            weights.coefficients.addcmul_(pace, mean, value=-1)
            weights.products.addcmul_(pace, mapped, value=-1)
        return (TEMPERATURE * weights.scores()[..., true.shape[1] :]).log_softmax(1).transpose(1, 2)


def loss_slopes(
    probabilities: Float[Tensor, "batch way images"], true: Float[Tensor, "way support"], alpha: float
) -> Float[Tensor, "batch way images"]:
    """Derivative of the loss by the logits."""
    num_support = true.shape[1]
    of_support, of_queries = probabilities[..., :num_support], probabilities[..., num_support:]
    power = alpha - 1
    factor = alpha / (power * of_queries.shape[2])
    by_probability = factor * (to_power(of_queries.mean(-1, keepdim=True), power) - to_power(of_queries, power))
    by_probability.sub_((of_queries * by_probability).sum(1, keepdim=True))
    return torch.cat([(of_support - true) / num_support, of_queries * by_probability], dim=-1)


def to_power(numbers: Tensor, power: float) -> Tensor:
    """``numbers ** power``; by products where the power is whole, in a tenth of the time."""
    if not 1 <= power <= 64 or power != int(power):
        return numbers**power
    found, square, left = None, numbers, int(power)
    while True:
        if left % 2:
            found = square if found is None else found * square
        left //= 2
        if not left:
            assert found is not None
            return found
        square = square * square
