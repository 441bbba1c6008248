"""PT-MAP: powers of the embeddings, then class means by optimal transport."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewshot.models.distances import unit_length
from fewshot.models.readouts.base import READOUTS, Readout, support_shares
from fewshot.models.readouts.span import SpanWeights
from fewshot.models.shapes import Query, Scores, Support, Table

_MOST_SCALINGS = 1000
_PRECISE = 1e-6  # of the sum of a query's probabilities


def transport(scores: Float[Tensor, "batch way queries"]) -> Float[Tensor, "batch way queries"]:
    """The logarithm of Sinkhorn's plan: each query has 1 to give, each class takes the same.

    ``exp(scores)``, its rows and columns scaled in turns until they sum to that (Cuturi 2013).
    """
    scores = scores - scores.amax(1, keepdim=True)  # a factor of each query drops out
    kernel = scores.exp()
    share = scores.shape[2] / scores.shape[1]
    of_query = 1 / kernel.sum(1, keepdim=True)  # (batch, 1, queries)
    for _ in range(_MOST_SCALINGS):
        of_class = share / (kernel * of_query).sum(2, keepdim=True)  # (batch, way, 1)
        last, of_query = of_query, 1 / (kernel * of_class).sum(1, keepdim=True)
        if float((last / of_query - 1).abs().max()) < _PRECISE:
            break
    return scores + of_class.log() + of_query.log()


def map_estimate(support: Support, query: Query, sharpness: float, rate: float, steps: int) -> Scores:
    """Logarithms of the last plan, the prototypes moved ``steps`` times (Hu et al. 2021, algorithm 1).

    A plan is that of ``exp(-sharpness * squared distance)``. A step takes the prototypes a share ``rate`` of the way
    to the mean of support and queries, weighted by the plan (eq. 6).
    """
    prototypes = SpanWeights.of_means(support, query)
    labeled = support_shares(support).expand(len(support), -1, -1)
    num_support = labeled.shape[2]
    for _ in range(steps):
        plan = transport(2 * sharpness * prototypes.scores()[..., num_support:]).exp()
        weights = torch.cat([labeled, plan], dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        prototypes.coefficients = prototypes.coefficients.lerp(weights, rate)
        prototypes.products = prototypes.coefficients @ prototypes.gram
    return transport(2 * sharpness * prototypes.scores()[..., num_support:]).transpose(1, 2)


@READOUTS.register("pt-map")
class PTMAP(Readout):
    """Power transform, then maximum a posteriori by Sinkhorn's optimal transport (Hu, Gripon and Pateux 2021).

    Embeddings to the power 0.5 and to unit length; support and queries each less their own mean and to unit length
    again; 20 steps at the rate 0.2, with the distances times 10: the released code. It adds 1e-6 before the power,
    which is left out, so that the scale does not matter. A power of negative numbers is not defined in the paper: they
    keep their sign here. The rule takes all classes to have the same number of queries.
    """

    title = "PT-MAP: power transform, class means by optimal transport of equal shares"
    source = "Hu, Gripon and Pateux, ICANN 2021"
    formula = (
        r"c_k\leftarrow c_k+\alpha\left(\frac{\sum_{z_i\in S_k}z_i+\sum_q P_{qk}z_q}{K+\sum_q P_{qk}}-c_k\right),\quad "
        r"P=\mathrm{Sinkhorn}\left(\exp(-\lambda\Vert z_q-c_k\Vert^2)\right)"
    )
    transductive = True
    invariant_to = frozenset({"scale"})

    def __init__(self, power: float = 0.5, sharpness: float = 10.0, rate: float = 0.2, steps: int = 20) -> None:
        self.power, self.sharpness, self.rate, self.steps = power, sharpness, rate, steps

    def prepare(self, table: Table, train_mean: Float[Tensor, " dim"] | None = None) -> Table:
        rows = unit_length(table.double())
        return unit_length(rows.sign() * rows.abs().pow(self.power)).float()

    def logits(self, support: Support, query: Query) -> Scores:
        support = functional.normalize(support - support.mean((1, 2), keepdim=True), dim=-1)
        query = functional.normalize(query - query.mean(1, keepdim=True), dim=-1)
        return map_estimate(support, query, self.sharpness, self.rate, self.steps)
