"""TIM: the mutual information of queries and answers, maximized by alternating directions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot.models.readouts.base import READOUTS, UnfitEmbeddingsError, UnitLengthReadout, support_shares
from fewshot.models.readouts.span import SpanWeights
from fewshot.models.shapes import Query, Scores, Support, Table

TEMPERATURE = 15.0
"""The factor of half the squared distances in the papers of TIM and alpha-TIM."""


_NEAREST = 0.01
"""How far apart unit vectors lie at least, where probabilities at this temperature are to tell them apart."""


class TemperedReadout(UnitLengthReadout):
    """A read-out by the probabilities ``softmax(-temperature / 2 * ||z - w_c||^2)`` of embeddings of length 1."""

    def prepare(self, table: Table, train_mean: Float[Tensor, " dim"] | None = None) -> Table:
        rows = super().prepare(table)
        apart = float(torch.linalg.vector_norm(rows.amax(0) - rows.amin(0)))
        if 0 < apart < _NEAREST:
            raise UnfitEmbeddingsError(
                f"{type(self).__name__} takes probabilities of a fixed temperature from embeddings of length 1, and at "
                f"that length these differ by {apart:.0e} at most: center them, or choose another read-out"
            )
        return rows


@READOUTS.register("tim")
class TIM(TemperedReadout):
    """TIM-ADM: 150 alternating updates of assignments and weights (Boudiaf et al. 2020, proposition 1).

    Minimizes ``0.1 * cross-entropy of the support - entropy of the mean answer + 0.1 * mean entropy of the answers``
    on embeddings of unit length, by the probabilities ``softmax(-15 / 2 * ||z - w_c||^2)``. The weights of the terms,
    the temperature and the steps are those of the paper and its code. The entropy of the mean answer is largest where
    all classes have the same number of queries, which the rule so takes them to have.
    """

    title = "TIM-ADM: mutual information of queries and answers, by alternating directions"
    source = "Boudiaf et al., NeurIPS 2020"
    formula = (
        r"\min_w\;\lambda\,\mathrm{CE}(S)-H(\bar p)+\frac{\alpha}{|Q|}\sum_{q\in Q}H(p_q),\quad "
        r"p_{qk}\propto\exp\left(-\frac{\tau}{2}\Vert\hat z_q-w_k\Vert^2\right)"
    )
    transductive = True

    def __init__(self, cross_entropy: float = 0.1, conditional_entropy: float = 0.1, steps: int = 150) -> None:
        self.cross_entropy, self.conditional_entropy, self.steps = cross_entropy, conditional_entropy, steps

    def logits(self, support: Support, query: Query) -> Scores:
        support, query = support.double(), query.double()  # 150 updates multiply what is rounded
        weights = SpanWeights.of_means(support, query)
        num_support, num_queries = support.shape[1] * support.shape[2], query.shape[1]
        true = support_shares(support).expand(len(support), -1, -1)
        of_support = self.cross_entropy / (1 + self.conditional_entropy)
        share = torch.cat(
            [query.new_full((num_support,), of_support), query.new_full((num_queries,), num_support / num_queries)]
        )
        for _ in range(self.steps):
            probabilities = (TEMPERATURE * weights.scores()).softmax(1)
            assigned = torch.cat([true, self._assigned(probabilities[..., num_support:])], dim=-1)
            kept = (share * probabilities).sum(-1, keepdim=True) * weights.coefficients
            new = share * (assigned - probabilities) + kept
            weights.coefficients = new / (share * assigned).sum(-1, keepdim=True)
            weights.products = weights.coefficients @ weights.gram
        return (TEMPERATURE * weights.scores()[..., num_support:]).log_softmax(1).transpose(1, 2)

    def _assigned(self, probabilities: Float[Tensor, "batch way queries"]) -> Float[Tensor, "batch way queries"]:
        """The assignments q that are best for these probabilities: the paper's q update, the weights of the entropy of
        the mean answer and of the penalty being 1."""
        sharp = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny) ** (1 + self.conditional_entropy)
        found = sharp / sharp.sum(-1, keepdim=True).sqrt()
        return found / found.sum(1, keepdim=True)
