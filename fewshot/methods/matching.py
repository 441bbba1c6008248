"""Matching Networks."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewshot.distances import cosine_similarity, squared_euclidean
from fewshot.encoders import Encoder
from fewshot.methods.base import METHODS, Method


class FullContext(nn.Module):
    """Full-context embeddings (Vinyals et al. 2016, section 2.1.2 and appendix A).

    The support is read as a sequence by a bidirectional LSTM, ``g = g' + forward + backward``; a query attends to the
    support in ``read_steps`` steps of an LSTM whose state is the pair of ``h`` and what it read. The support order
    matters: the sampler's is random.
    """

    def __init__(self, dim: int, read_steps: int) -> None:
        super().__init__()
        self.support_lstm = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        # Recurrent weights on the pair [h, read] are input weights on read beside recurrent weights on h.
        self.query_cell = nn.LSTMCell(2 * dim, dim)
        self.read_steps = read_steps

    def forward(
        self, support: Float[Tensor, "batch images dim"], query: Float[Tensor, "batch queries dim"]
    ) -> tuple[Float[Tensor, "batch images dim"], Float[Tensor, "batch queries dim"]]:
        forward, backward = self.support_lstm(support)[0].chunk(2, dim=-1)
        support = support + forward + backward
        flat = query.flatten(0, 1)  # (batch * queries, dim)
        hidden, cell, read = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        for _ in range(self.read_steps):
            hidden, cell = self.query_cell(torch.cat([flat, read], dim=-1), (hidden, cell))
            hidden = hidden + flat
            state = torch.unflatten(hidden, 0, query.shape[:2])
            read = ((state @ support.transpose(-1, -2)).softmax(-1) @ support).flatten(0, 1)
        return support, torch.unflatten(hidden, 0, query.shape[:2])


@METHODS.register("matching")
class Matching(Method):
    """Attention over the support set, times its one-hot labels (Vinyals et al. 2016, eq. 1).

    The prediction is a mixture of probabilities, so the logits are its logarithms and the loss is the negative
    log-likelihood of the mixture, not a cross-entropy of summed similarities. ``scale`` multiplies the cosine: the
    paper's 1 leaves the attention nearly flat.
    """

    title = "Matching Networks: attention over the support set"
    source = "Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, NeurIPS 2016"

    def __init__(
        self,
        encoder: Encoder,
        distance: Literal["cosine", "euclidean"] = "cosine",
        scale: float = 1.0,
        fce: bool = False,
        read_steps: int = 5,
    ) -> None:
        super().__init__(encoder)
        self.distance, self.scale = distance, scale
        self.context = FullContext(encoder.dim, read_steps) if fce else None

    def logits(
        self,
        support: Float[Tensor, "batch way shot dim"],
        query: Float[Tensor, "batch queries dim"],
        unlabeled: Float[Tensor, "batch unlabeled dim"] | None = None,
    ) -> Float[Tensor, "batch queries way"]:
        way, shot = support.shape[1:3]
        images = support.flatten(1, 2)  # (batch, way * shot, dim)
        if self.context is not None:
            images, query = self.context(images, query)
        if self.distance == "cosine":
            similarities = self.scale * cosine_similarity(query, images)
        else:
            similarities = -self.scale * squared_euclidean(query, images)
        attention = functional.log_softmax(similarities, dim=-1)  # (batch, queries, way * shot)
        return torch.unflatten(attention, -1, (way, shot)).logsumexp(-1)
