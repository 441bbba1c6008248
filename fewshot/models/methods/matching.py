"""Matching Networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.distances import cosine_similarity, squared_euclidean
from fewshot.models.encoders.base import Encoder
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.options import Range, Search
from fewshot.models.shapes import Query, Scores


class FullContext(nn.Module):
    """Full-context embeddings (Vinyals et al. 2016, section 2.1.2 and appendix A).

    The support is read as a sequence by a bidirectional LSTM, ``g = g' + forward + backward``. A query reads the
    support ``read_steps`` times: attention from ``h`` gives the read-out ``r``, and an LSTM whose recurrent state is
    the pair ``[h, r]`` gives the next ``h``. The paper leaves the start open: it is ``h = f'`` and an empty cell.
    The support order matters. It runs class after class; which class and which image comes first is random, because
    the sampler draws them so.
    """

    def __init__(self, dim: int, read_steps: int) -> None:
        super().__init__()
        if read_steps < 1:
            raise UserError(f"--read-steps must be 1 or more, not {read_steps}")
        self.support_lstm = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        # Recurrent weights on the pair [h, r] are input weights on r beside recurrent weights on h.
        self.query_cell = nn.LSTMCell(2 * dim, dim)
        self.read_steps = read_steps

    def forward(
        self, support: Float[Tensor, "batch images dim"], query: Query
    ) -> tuple[Float[Tensor, "batch images dim"], Query]:
        forward, backward = self.support_lstm(support)[0].chunk(2, dim=-1)
        support = support + forward + backward
        flat = query.flatten(0, 1)  # (batch * queries, dim)
        hidden, cell = flat, torch.zeros_like(flat)
        for _ in range(self.read_steps):
            state = torch.unflatten(hidden, 0, query.shape[:2])
            read = ((state @ support.transpose(-1, -2)).softmax(-1) @ support).flatten(0, 1)
            hidden, cell = self.query_cell(torch.cat([flat, read], dim=-1), (hidden, cell))
            hidden = hidden + flat
        return support, torch.unflatten(hidden, 0, query.shape[:2])


@METHODS.register("matching")
class Matching(Method):
    """Attention over the support set, times its one-hot labels (Vinyals et al. 2016, eq. 1).

    The probability of class k is the sum, over its support images i, of ``softmax_i(scale * cosine(f(x), g(x_i)))``.
    The prediction is a mixture of probabilities, so the logits are its logarithms and the loss is the negative
    log-likelihood of the mixture, not a cross-entropy of summed similarities. ``scale`` multiplies the cosine: the
    paper's 1 leaves the attention nearly flat. With ``separate_encoders`` the paper's g (support) and f (query) are two
    networks, equal at the start; an image then has both embeddings, one behind the other.
    """

    title = "Matching Networks: attention over the support set"
    source = "Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, NeurIPS 2016"
    formula = (
        r"p(y=k\,|\,x)=\sum_{x_i\in S_k}\frac{\exp(\beta\cos(f(x),g(x_i)))}{\sum_{x_j\in S}"
        r"\exp(\beta\cos(f(x),g(x_j)))}"
    )
    search: ClassVar[Search] = {"scale": Range(1.0, 100.0)}

    def __init__(
        self,
        encoder: Encoder,
        distance: Literal["cosine", "euclidean"] = "cosine",
        scale: float = 1.0,
        fce: bool = False,
        read_steps: int = 5,
        separate_encoders: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.distance, self.scale = distance, scale
        self.context = FullContext(encoder.dim, read_steps) if fce else None
        self.query_encoder = copy.deepcopy(encoder) if separate_encoders else None
        if fce:
            self.must_train = "full-context embedding"
        elif distance == "cosine":
            self.invariant_to = frozenset({"scale"})
        elif not separate_encoders:
            self.invariant_to = frozenset({"offset"})

    @classmethod
    def images_encoded(cls, options: Mapping[str, Any], support: int, others: int) -> int:
        return super().images_encoded(options, support, others) * (2 if options.get("separate_encoders") else 1)

    def embed(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n numbers"]:
        """Embeddings for the support, (n, dim); with separate encoders those for the query behind them, (n, 2 dim)."""
        embeddings = super().embed(images)
        if self.query_encoder is None:
            return embeddings
        return torch.cat([embeddings, self.query_encoder(images).to(embeddings.dtype)], dim=-1)

    def logits(
        self,
        support: Float[Tensor, "batch way shot numbers"],
        query: Float[Tensor, "batch queries numbers"],
        unlabeled: Float[Tensor, "batch unlabeled numbers"] | None = None,
    ) -> Scores:
        way, shot = support.shape[1:3]
        images = support.flatten(1, 2)  # (batch, way * shot, dim)
        if self.query_encoder is not None:
            images, query = images[..., : self.encoder.dim], query[..., self.encoder.dim :]
        if self.context is not None:
            images, query = self.context(images, query)
        if self.distance == "cosine":
            similarities = self.scale * cosine_similarity(query, images)
        else:
            similarities = -self.scale * squared_euclidean(query, images)
        attention = functional.log_softmax(similarities, dim=-1)  # (batch, queries, way * shot)
        return torch.unflatten(attention, -1, (way, shot)).logsumexp(-1)

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        embeddings = super().peak_elements(way, shot, queries, unlabeled) * (1 if self.query_encoder is None else 2)
        gates = 8 * (way * shot + queries) * self.encoder.dim  # of the LSTMs, and their inputs
        return embeddings + queries * way * shot + (gates if self.context is not None else 0)
