"""How well an image is known: a score of each query that is low where it belongs to none of the support's classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor

from fewshot.models.distances import cosine_similarity, squared_euclidean, unit_length
from fewshot.models.shapes import Query, Scores, Support

Rule = Callable[[Support, Query], Tensor]
"""Support and query embeddings -> scores (batch, queries), the larger the better known."""


def max_cosine(support: Support, query: Query) -> Float[Tensor, "batch queries"]:
    """The cosine to the nearest class mean of unit vectors."""
    return _cosines(support, query).amax(-1)


def max_probability(support: Support, query: Query) -> Float[Tensor, "batch queries"]:
    """The largest probability, the naive rule (Hendrycks and Gimpel, ICLR 2017): softmax of 10 times the cosines."""
    return (_SCALE * _cosines(support, query)).softmax(-1).amax(-1)


def energy(support: Support, query: Query) -> Float[Tensor, "batch queries"]:
    """Minus the free energy (Liu et al., NeurIPS 2020, eq. 4): log-sum-exp of 10 times the cosines to class means."""
    return (_SCALE * _cosines(support, query)).logsumexp(-1)


def prototype_distance(support: Support, query: Query) -> Float[Tensor, "batch queries"]:
    """Minus the squared Euclidean distance to the nearest class mean, of embeddings as they are."""
    return -squared_euclidean(query, support.mean(2)).amin(-1)


def nearest_cosine(support: Support, query: Query) -> Float[Tensor, "batch queries"]:
    """The cosine to the nearest support image (Sun et al., ICML 2022, with one neighbor)."""
    return cosine_similarity(query, support.flatten(1, 2)).amax(-1)


def one_class(support: Support, query: Query) -> Float[Tensor, "batch queries"]:
    """The cosine to the mean of the whole support, whatever the classes: one center (after Ruff et al., ICML 2018)."""
    center = unit_length(support).mean((1, 2)).unsqueeze(1)
    return cosine_similarity(query, center).squeeze(-1)


_SCALE = 10.0  # of cosines, as a cosine classifier begins with (Gidaris and Komodakis, CVPR 2018)


def _cosines(support: Tensor, query: Tensor) -> Scores:
    return cosine_similarity(query, unit_length(support).mean(2))


RULES: Mapping[str, Rule] = {
    "max-cosine": max_cosine,
    "max-probability": max_probability,
    "energy": energy,
    "prototype-distance": prototype_distance,
    "nearest-cosine": nearest_cosine,
    "one-class": one_class,
}
