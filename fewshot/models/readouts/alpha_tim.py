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
        weights.gram.mul_(TEMPERATURE)  # so scores are logits
        # Coefficients and products go through the same steps: one tensor, half as many passes.
        kept = torch.stack([weights.coefficients, TEMPERATURE * weights.products])
        weights.coefficients, weights.products = kept
        change, mean = torch.empty_like(kept), torch.zeros_like(kept)
        square, true = kept.new_zeros(len(support), support.shape[1], 1), support_shares(support)
        over, tiny = TEMPERATURE * support.shape[3], _TINY / TEMPERATURE  # the gradient is kept over the temperature
        for step in range(1, self.steps + 1):
            slopes = loss_slopes(weights.scores().softmax(1), true, alpha, out=change[0])
            torch.bmm(slopes, weights.gram, out=change[1])
            change.addcmul_(slopes.sum(-1, keepdim=True), kept, value=-1)
            mean.lerp_(change, 1 - _MEAN_KEPT)
            length = (slopes * change[1]).sum(-1, keepdim=True).clamp_min_(0)
            square.mul_(_SQUARE_KEPT).add_(length, alpha=(1 - _SQUARE_KEPT) / over)
            root = (square / (1 - _SQUARE_KEPT**step)).sqrt_().add_(tiny)
            kept.addcmul_(root.reciprocal_(), mean, value=-self.learning_rate / (1 - _MEAN_KEPT**step))
        return weights.scores()[..., true.shape[1] :].log_softmax(1).transpose(1, 2)

    def peak_elements(self, way: int, shot: int, queries: int, dim: int) -> int:
        """The many steps see products of images alone, so the embeddings, which are gathered once, hardly count."""
        images = way * shot + queries
        return 6 * images * images + images * dim // 16


def loss_slopes(
    probabilities: Float[Tensor, "batch way images"],
    true: Float[Tensor, "way support"],
    alpha: float,
    out: Float[Tensor, "batch way images"] | None = None,
) -> Float[Tensor, "batch way images"]:
    """Derivative of the loss by the logits, written to ``out`` where it is given."""
    num_support, power = true.shape[1], alpha - 1
    of_support, of_queries = probabilities[..., :num_support], probabilities[..., num_support:]
    factor = alpha / (power * of_queries.shape[2])
    of_mean = factor * to_power(of_queries.mean(-1, keepdim=True), power)
    gains = torch.sub(of_mean, to_power(of_queries, power), alpha=factor).mul_(of_queries)
    slopes = torch.empty_like(probabilities) if out is None else out
    torch.sub(of_support, true, out=slopes[..., :num_support]).div_(num_support)
    torch.addcmul(gains, gains.sum(1, keepdim=True), of_queries, value=-1, out=slopes[..., num_support:])
    return slopes


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
