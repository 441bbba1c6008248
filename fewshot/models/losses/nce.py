"""Binary noise-contrastive estimation: real pairs against noise pairs."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.distances import cosine_similarity
from fewshot.models.losses.base import LOSSES, Loss, mean_of, nothing, pairs_in
from fewshot.models.options import Range, Search


@LOSSES.register("nce")
class NCE(Loss):
    """Is a pair real (two images of one class) or noise (the second drawn from all images)? Logistic regression.

    Gutmann and Hyvarinen 2010, eq. 3-4, with ``num_noise`` noise pairs to a real one (Mnih and Teh 2012, eq. 8): the
    log-odds of a pair are its score less ``log num_noise``, the score being the cosine, scaled and shifted by two
    learned numbers. Noise seconds come from the other images of the batch, its own class included; instead of drawing
    ``num_noise`` of them, the expectation of the draw is taken. Log-odds of zero cost (1 + num_noise) log 2.
    """

    title = "Noise-contrastive estimation: pairs of one class against pairs drawn at random"
    source = "Gutmann and Hyvarinen, AISTATS 2010"
    formula = (
        r"\mathcal{L}=-\mathbb{E}_{P}\left[\log\sigma(a_{ij})\right]-n\,\mathbb{E}_{B}\left["
        r"\log(1-\sigma(a_{ij}))\right],\quad "
        r"a_{ij}=s\cos(z_i,z_j)+b-\log n"
    )
    search: ClassVar[Search] = {"scale": Range(3.0, 60.0)}
    on_unit_sphere = True

    def __init__(self, dim: int, num_classes: int, num_noise: int = 10, scale: float = 10.0) -> None:
        super().__init__(dim, num_classes)
        self.num_noise = num_noise
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(-scale / 2))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        return self.of_scores(self.scale * cosine_similarity(embeddings, embeddings) + self.shift, labels)

    def of_scores(self, scores: Float[Tensor, "n n"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss of pair scores; the first image of a pair is the row."""
        real, others = pairs_in(labels)
        if not real.any():
            return nothing(scores)
        log_odds = scores - torch.tensor(self.num_noise, dtype=scores.dtype).log()
        noise = mean_of(functional.softplus(log_odds), real | others)
        return mean_of(functional.softplus(-log_odds), real) + self.num_noise * noise
