"""BD-CSPN: class means rectified by the queries that fall to them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewshot.models.distances import squared_euclidean
from fewshot.models.readouts.base import READOUTS, CenteredReadout, support_shares
from fewshot.models.shapes import Query, Scores, Support


def rectified(support: Support, query: Query, sharpness: float = 10.0) -> tuple[Float[Tensor, "batch way dim"], Query]:
    """Prototypes and queries without their biases (Liu et al. 2020, section 3).

    The queries are moved so that their mean is that of the support (the bias between support and query). Each image
    then falls to the class whose mean is nearest by the cosine, a support image to its own, and a prototype is the mean
    of what falls to it, each image times the softmax over the classes of its cosines (the bias within a class).
    """
    moved = query + (support.mean((1, 2)) - query.mean(1)).unsqueeze(1)
    means = functional.normalize(support.mean(2), dim=-1)
    images = torch.cat([support.flatten(1, 2), moved], dim=1)
    cosines = means @ functional.normalize(images, dim=-1).transpose(1, 2)  # (batch, way, images)
    known = support_shares(support).expand(len(support), -1, -1)
    guessed = functional.one_hot(cosines[..., known.shape[2] :].argmax(1), support.shape[1]).transpose(1, 2)
    counted = torch.cat([known, guessed.to(known)], dim=-1)
    weights = (sharpness * cosines).softmax(1) * counted / counted.sum(-1, keepdim=True)
    return weights @ images, moved


@READOUTS.register("bd-cspn")
class BDCSPN(CenteredReadout):
    """The rectified prototype at the smallest angle (Liu et al. 2020); the logits are the cosine less 1.

    Where the paper takes the queries that are surest of their class, all of them count here, the weights are a softmax
    over classes, and embeddings are centered on the training images and of unit length: as in the code by which Ziko et
    al. (2020) and Veilleux et al. (2021) compare.
    """

    title = "BD-CSPN: class means rectified by the queries that fall to them, cosine"
    source = "Liu, Song and Qin, ECCV 2020"
    formula = (
        r"\tilde c_k=\frac{1}{|X_k|}\sum_{z\in X_k}\frac{\exp(\epsilon\cos(z,c_k))}{\sum_l"
        r"\exp(\epsilon\cos(z,c_l))}\,z,\quad "
        r"\ell_k(z)=\cos(z,\tilde c_k)-1"
    )
    transductive = True

    def __init__(self, sharpness: float = 10.0) -> None:
        self.sharpness = sharpness

    def logits(self, support: Support, query: Query) -> Scores:
        prototypes, moved = rectified(support, query, self.sharpness)
        return -squared_euclidean(functional.normalize(moved, dim=-1), functional.normalize(prototypes, dim=-1)) / 2
