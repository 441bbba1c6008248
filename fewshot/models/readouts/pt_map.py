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

_MOST_STEPS = 100
_PRECISE = 1e-6  # of what a class takes
_FIRST_DAMPING, _LEAST_DAMPING = 1e-3, 1e-9  # of what a class takes


def transport(
    scores: Float[Tensor, "batch way queries"], start: Float[Tensor, "batch way 1"] | None = None
) -> tuple[Float[Tensor, "batch way queries"], Float[Tensor, "batch way 1"]]:
    """The logarithm of Sinkhorn's plan: each query has 1 to give, each class takes the same. And the classes' factors.

    It is ``exp(scores)``, rows and columns scaled until they sum to that (Cuturi 2013). Scaling them in turns takes
    hundreds of rounds where clusters are far apart. The logarithms of the classes' factors, as few numbers as classes,
    minimize a convex function whose slope is what the classes take beyond their share: damped steps of Newton, from
    ``start``, find the same plan in three to five.
    """
    scores = scores.double()
    share = scores.shape[2] / scores.shape[1]
    factors = torch.zeros_like(scores[..., :1]) if start is None else start
    identity = torch.eye(scores.shape[1], dtype=scores.dtype, device=scores.device)
    damping = torch.full_like(scores[:, :1, :1], _FIRST_DAMPING * share)

    def height(factors: Tensor) -> Float[Tensor, " batch"]:
        return (scores + factors).logsumexp(1).sum(1) - share * factors.sum((1, 2))

    lowest = height(factors)
    for _ in range(_MOST_STEPS):
        plan = (scores + factors).softmax(1)
        taken = plan.sum(2, keepdim=True)
        missing = share - taken
        open_ = missing.abs().amax((1, 2), keepdim=True) >= _PRECISE * share  # the others answer as they would alone
        if not bool(open_.any()):
            break
        curvature = torch.diag_embed(taken.squeeze(2)) - plan @ plan.transpose(1, 2)
        curvature = curvature + damping * identity + 1 / scores.shape[1]  # one number added to all factors does nothing
        tried = factors + torch.linalg.solve(curvature, missing)
        there = height(tried)
        lower = (there <= lowest + 1e-12 * lowest.abs())[:, None, None] & open_  # but for rounding
        factors = torch.where(lower, tried, factors)
        lowest = torch.where(lower[:, 0, 0], there, lowest)
        damping = torch.where(lower, damping / 10, damping * 10).clamp_min(_LEAST_DAMPING * share)
    return (scores + factors).log_softmax(1), factors


def map_estimate(support: Support, query: Query, sharpness: float, rate: float, steps: int) -> Scores:
    """Logarithms of the last plan, the prototypes moved ``steps`` times (Hu et al. 2021, algorithm 1).

    A plan is that of ``exp(-sharpness * squared distance)``. A step takes the prototypes a share ``rate`` of the way
    to the mean of support and queries, weighted by the plan (eq. 6).
    """
    prototypes = SpanWeights.of_means(support, query)
    labeled = support_shares(support).expand(len(support), -1, -1)
    num_support = labeled.shape[2]
    factors: Tensor | None = None
    for _ in range(steps):
        plan, factors = transport(2 * sharpness * prototypes.scores()[..., num_support:], factors)
        weights = torch.cat([labeled, plan.exp().to(labeled)], dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        prototypes.coefficients = prototypes.coefficients.lerp(weights, rate)
        prototypes.products = prototypes.coefficients @ prototypes.gram
    return transport(2 * sharpness * prototypes.scores()[..., num_support:], factors)[0].transpose(1, 2)


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
