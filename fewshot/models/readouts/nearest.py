"""Read-outs that learn nothing: the class of whatever is nearest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fewshot.models.distances import UNMOVED, nearest_mean_logits, squared_euclidean
from fewshot.models.readouts.base import READOUTS, CenteredReadout, Readout
from fewshot.models.shapes import Query, Scores, Support


@READOUTS.register("prototype")
class Prototype(Readout):
    """Nearest class mean by the squared Euclidean distance (Snell et al. 2017, eq. 1-2)."""

    title = "nearest class mean: by the squared Euclidean distance"
    source = "Snell, Swersky and Zemel, NeurIPS 2017"
    formula = r"\ell_k(z)=-\Vert z-c_k\Vert^2,\quad c_k=\frac{1}{K}\sum_{z_i\in S_k}z_i"
    invariant_to = UNMOVED

    def logits(self, support: Support, query: Query) -> Scores:
        return nearest_mean_logits(support, query)


@READOUTS.register("cosine")
class Cosine(Readout):
    """The class mean at the smallest angle. Embeddings are averaged as they are, not brought to unit length before.

    The logits are the cosine less 1, from the distance of the unit vectors: where all angles are small, the cosines
    themselves would all round to 1.
    """

    title = "cosine to the class mean: the nearest by angle"
    source = "after Snell, Swersky and Zemel, NeurIPS 2017, figure 2"
    formula = r"\ell_k(z)=\cos(z,c_k)-1,\quad c_k=\frac{1}{K}\sum_{z_i\in S_k}z_i"
    invariant_to = frozenset({"scale"})

    def logits(self, support: Support, query: Query) -> Scores:
        prototypes = functional.normalize(support.mean(dim=2), dim=-1)
        return -squared_euclidean(functional.normalize(query, dim=-1), prototypes) / 2


@READOUTS.register("simpleshot")
class SimpleShot(CenteredReadout):
    """CL2N: less the mean of the training images, then unit length, then the nearest class mean (Wang et al. 2019).

    The class mean is that of unit vectors and has no unit length itself.
    """

    title = "SimpleShot: centered on the training images, L2-normalized, nearest class mean (CL2N)"
    source = "Wang, Chao, Weinberger and van der Maaten, arXiv 2019"
    formula = (
        r"\ell_k(z)=-\Vert\tilde z-c_k\Vert^2,\quad\tilde z=\frac{z-\mu}{\Vert z-\mu\Vert},\quad "
        r"c_k=\frac{1}{K}\sum_{z_i\in S_k}\tilde z_i"
    )

    def logits(self, support: Support, query: Query) -> Scores:
        return nearest_mean_logits(support, query)


@READOUTS.register("nearest-neighbor")
class NearestNeighbor(Readout):
    """The class of the nearest support image by the squared Euclidean distance; at one shot, the prototype's answer."""

    title = "nearest neighbor: the nearest support image, squared Euclidean distance"
    source = "Cover and Hart, IEEE Transactions on Information Theory 1967"
    formula = r"\ell_k(z)=-\min_{z_i\in S_k}\Vert z-z_i\Vert^2"
    invariant_to = UNMOVED

    def logits(self, support: Support, query: Query) -> Scores:
        distances = squared_euclidean(query, support.flatten(1, 2))
        nearest: Tensor = torch.unflatten(distances, -1, tuple(support.shape[1:3])).amin(-1)
        return -nearest
