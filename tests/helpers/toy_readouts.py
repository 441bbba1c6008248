"""A read-out that looks at all queries of an episode."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fewshot.models.distances import squared_euclidean
from fewshot.models.readouts import Readout


class SoftKMeans(Readout):
    """One step of soft k-means from the class means, on the queries themselves (after Ren et al. 2018, eq. 3-4)."""

    title = "class means moved by one step of soft k-means on the queries"
    source = "after Ren et al., ICLR 2018"
    transductive = True

    def logits(
        self, support: Float[Tensor, "batch way shot dim"], query: Float[Tensor, "batch queries dim"]
    ) -> Float[Tensor, "batch queries way"]:
        weights = (-squared_euclidean(query, support.mean(2))).softmax(-1)  # (batch, queries, way)
        moved = support.sum(2) + weights.transpose(1, 2) @ query
        prototypes: Tensor = moved / (support.shape[2] + weights.sum(1)[..., None])
        return -squared_euclidean(query, prototypes)
