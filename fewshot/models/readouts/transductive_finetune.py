"""Transductive fine-tuning of the classifier: the entropy of the queries beside the cross-entropy of the support."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot.models.readouts.base import READOUTS, support_shares
from fewshot.models.readouts.tim import TEMPERATURE, TemperedReadout
from fewshot.models.shapes import Query, Scores, Support

_MEAN_KEPT, _SQUARE_KEPT, _TINY = 0.9, 0.999, 1e-8  # Adam's, as PyTorch has them


@READOUTS.register("transductive-finetune")
class TransductiveFinetune(TemperedReadout):
    """25 steps of Adam at the rate 5e-5 on cross-entropy of the support plus entropy of the queries (Dhillon et al.
    2020, eq. 8), from the class means, on embeddings of unit length.

    The paper tunes the encoder, too; frozen embeddings leave the classifier, as in the comparison of Veilleux et al.
    (2021), whose probabilities, ``softmax(-15 / 2 * ||z - w_c||^2)``, are taken here.
    """

    title = "Transductive fine-tuning: class means tuned to confident answers on the queries"
    source = "Dhillon, Chaudhari, Ravichandran and Soatto, ICLR 2020"
    formula = (
        r"\min_w\;\mathrm{CE}(S)+\frac{1}{|Q|}\sum_{q\in Q}H(p_q),\quad "
        r"p_{qk}\propto\exp\left(-\frac{\tau}{2}\Vert\hat z_q-w_k\Vert^2\right)"
    )
    transductive = True

    def __init__(self, learning_rate: float = 5e-5, steps: int = 25) -> None:
        self.learning_rate, self.steps = learning_rate, steps

    def logits(self, support: Support, query: Query) -> Scores:
        images = torch.cat([support.flatten(1, 2), query], dim=1)
        images = images - images[:, :1]  # no distance feels it, and equal images get equal scores
        true = support_shares(support)
        num_support = true.shape[1]
        weights = true / support.shape[2] @ images[:, :num_support]  # (batch, way, dim)
        mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
        for step in range(1, self.steps + 1):
            slopes = loss_slopes(weights_logits(weights, images), true)
            gradient = TEMPERATURE * (slopes @ images - slopes.sum(-1, keepdim=True) * weights)
            mean.lerp_(gradient, 1 - _MEAN_KEPT)
            square.lerp_(gradient.square(), 1 - _SQUARE_KEPT)
            root = (square / (1 - _SQUARE_KEPT**step)).sqrt() + _TINY
            weights = weights - self.learning_rate / (1 - _MEAN_KEPT**step) * mean / root
        return weights_logits(weights, images[:, num_support:]).log_softmax(1).transpose(1, 2)


def weights_logits(
    weights: Float[Tensor, "batch way dim"], images: Float[Tensor, "batch images dim"]
) -> Float[Tensor, "batch way images"]:
    """``-temperature / 2 * ||image - weights||^2``, but for the image's own length, which moves no softmax."""
    return TEMPERATURE * (weights @ images.transpose(1, 2) - weights.square().sum(-1, keepdim=True) / 2)


def loss_slopes(
    logits: Float[Tensor, "batch way images"], true: Float[Tensor, "way support"]
) -> Float[Tensor, "batch way images"]:
    """Derivative of the loss by the logits."""
    num_support = true.shape[1]
    known, guessed = logits[..., :num_support].softmax(1), logits[..., num_support:].log_softmax(1)
    shares = guessed.exp()
    entropy = -(shares * guessed).sum(1, keepdim=True)  # (batch, 1, queries)
    of_queries = -shares * (guessed + entropy) / guessed.shape[2]
    return torch.cat([(known - true) / num_support, of_queries], dim=-1)
