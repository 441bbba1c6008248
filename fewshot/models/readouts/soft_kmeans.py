"""Soft k-means of the queries, from the class means."""

from __future__ import annotations

from torch import Tensor

from fewshot.models.distances import squared_euclidean
from fewshot.models.readouts.base import READOUTS, Readout
from fewshot.models.shapes import Query, Scores, Support, Table

_NEAREST = 1e-15  # squares of smaller numbers vanish in single precision


@READOUTS.register("soft-kmeans")
class SoftKMeans(Readout):
    """One step of soft k-means (Ren et al. 2018, eq. 3-4), the queries in the place of the paper's unlabeled images.

    Each query belongs to the classes in proportion to the softmax of minus its squared distances to their means. The
    embeddings are taken as they are, at the scale at which Prototypical Networks were trained.
    """

    title = "Soft k-Means: class means moved by one step of it on the queries"
    source = "Ren et al., ICLR 2018"
    formula = (
        r"\tilde c_k=\frac{\sum_{z_i\in S_k}z_i+\sum_q w_{qk}z_q}{K+\sum_q w_{qk}},\quad "
        r"w_{qk}=\frac{\exp(-\Vert z_q-c_k\Vert^2)}{\sum_l\exp(-\Vert z_q-c_l\Vert^2)}"
    )
    transductive = True
    invariant_to = frozenset({"offset"})

    def prepare(self, table: Table, train_mean: Tensor | None = None) -> Table:
        rows = super().prepare(table)
        apart = float((rows.amax(0) - rows.amin(0)).max())
        return rows.double() if 0 < apart < _NEAREST else rows

    def logits(self, support: Support, query: Query) -> Scores:
        shares = (-squared_euclidean(query, support.mean(2))).softmax(-1)  # (batch, queries, way)
        moved = support.sum(2) + shares.transpose(1, 2) @ query
        prototypes: Tensor = moved / (support.shape[2] + shares.sum(1).unsqueeze(-1))
        return -squared_euclidean(query, prototypes)
