"""Relation Networks."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.encoders import Encoder, running_affine, set_batch_statistics, uses_batch_statistics
from fewshot.methods.base import METHODS, Method

_MAPS_AT_ONCE = 1024
_PAIRS_AT_ONCE = 4096  # in evaluation: their maps then fit into the processor's cache


class PairConvolution(nn.Module):
    """3x3 convolution of a support map and a query map laid on top of each other, for every pair.

    A convolution is linear, so each half of its kernel runs over its own maps once, and pairs only add up.
    """

    def __init__(self, channels: int, width: int, padding: int) -> None:
        super().__init__()
        self.of_support = nn.Conv2d(channels, width, 3, padding=padding, bias=False)
        self.of_query = nn.Conv2d(channels, width, 3, padding=padding, bias=False)

    def forward(
        self, support: Float[Tensor, "batch way c h w"], query: Float[Tensor, "batch queries c h w"]
    ) -> Float[Tensor, "pairs d h2 w2"]:
        left, right = self.of_support(support.flatten(0, 1)), self.of_query(query.flatten(0, 1))
        left, right = torch.unflatten(left, 0, support.shape[:2]), torch.unflatten(right, 0, query.shape[:2])
        return (left[:, None] + right[:, :, None]).flatten(0, 2)  # (batch * queries * way, d, h2, w2)


class RelationModule(nn.Module):
    """Two convolution blocks and two linear layers, one score a pair, before the sigmoid (Sung et al. 2018, figure 3).

    No padding where the maps are large enough for both blocks without it (84x84 images), as in the released code.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int = 64, hidden: int = 8) -> None:
        super().__init__()
        padding = 0 if min(size) >= 10 else 1
        height, out_width = ((((side + 2 * padding - 2) // 2) + 2 * padding - 2) // 2 for side in size)
        if min(height, out_width) < 1:
            raise UserError(f"the relation module needs maps of 4x4 or more (images of 22x22), not {size[0]}x{size[1]}")
        self.pairs = PairConvolution(channels, width, padding)
        self.norm1 = nn.BatchNorm2d(width)
        self.convolution = nn.Conv2d(width, width, 3, padding=padding, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.hidden = nn.Linear(width * height * out_width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(
        self, support: Float[Tensor, "batch way c h w"], query: Float[Tensor, "batch queries c h w"]
    ) -> Float[Tensor, "batch queries way"]:
        if not (self.training or uses_batch_statistics(self.norm1)):
            of_support, _ = self.prepare(support.flatten(0, 1))
            _, of_query = self.prepare(query.flatten(0, 1))
            return self.score_prepared(
                torch.unflatten(of_support, 0, support.shape[:2]), torch.unflatten(of_query, 0, query.shape[:2])
            )
        x = functional.relu(functional.max_pool2d(self.norm1(self.pairs(support, query)), 2))
        x = functional.relu(functional.max_pool2d(self.norm2(self.convolution(x)), 2))
        scores: Tensor = self.score(functional.relu(self.hidden(x.flatten(1))))
        return scores.view(len(query), query.shape[1], support.shape[1])

    def prepare(
        self, maps: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n 4 d h2 w2"], Float[Tensor, "n 4 d h2 w2"]]:
        """What a map contributes to its pairs in evaluation: as a support image, and as a query.

        Each half of the first convolution with the batch norm folded in, sorted by the places of the pooling windows.
        """
        scale, shift = running_affine(self.norm1)
        halves = self.pairs.of_support.weight, self.pairs.of_query.weight
        weight = torch.cat([half * scale.view(-1, 1, 1, 1) for half in halves])
        bias = torch.cat([torch.zeros_like(shift), shift])
        both = functional.conv2d(maps, weight, bias, padding=self.pairs.of_support.padding)
        of_support, of_query = _window_places(both).chunk(2, dim=2)
        return of_support, of_query

    def score_prepared(
        self, support: Float[Tensor, "batch way 4 d h w"], query: Float[Tensor, "batch queries 4 d h w"]
    ) -> Float[Tensor, "batch queries way"]:
        """Scores from what ``prepare`` made, few pairs at a time, so that they stay in the processor's cache.

        Adding pairs up and pooling them is done window place by window place: no map of a pair is ever whole.
        """
        left = [place.contiguous() for place in support[:, None].unbind(3)]  # (batch, 1, way, d, h, w), four times
        right = query[:, :, None].unbind(3)
        scale, shift = running_affine(self.norm2)
        weight = self.convolution.weight * scale.view(-1, 1, 1, 1)
        second = _SmallConvolution(weight, shift, self.convolution.padding, support.shape[-2:])
        block = max(1, _PAIRS_AT_ONCE // (len(query) * support.shape[1]))
        scores = []
        for first in range(0, query.shape[1], block):
            of_queries = [place[:, first : first + block] for place in right]
            x = left[0] + of_queries[0]  # (batch, queries, way, d, h, w)
            for of_support, of_query in zip(left[1:], of_queries[1:], strict=True):
                x = torch.maximum(x, of_support + of_query)
            shape = x.shape[:3]
            x = functional.relu(second(functional.relu(x.flatten(0, 2))))
            scores.append(self.score(functional.relu(self.hidden(x.flatten(1)))).view(shape))
        return torch.cat(scores, dim=1)


def _window_places(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 4 c h2 w2"]:
    """The numbers of every 2x2 pooling window, by their place in it."""
    height, width = (side // 2 * 2 for side in maps.shape[-2:])
    places = [maps[..., row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    return torch.stack(places, dim=1)


class _SmallConvolution:
    """A convolution, its bias and 2x2 max pooling; on maps of 2x2, where all see all, one matrix does it."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: Any, size: Any) -> None:
        self.weight, self.bias, self.padding = weight, bias, padding
        self.channels, self.is_matrix = weight.shape[0], tuple(size) == (2, 2)
        if self.is_matrix:  # a convolution is linear: what it makes of the unit maps are the rows of its matrix
            inputs = 4 * weight.shape[1]
            unit_maps = torch.eye(inputs, dtype=weight.dtype, device=weight.device).view(inputs, -1, 2, 2)
            made = functional.conv2d(unit_maps, weight, padding=padding)
            self.matrix = made.flatten(2).transpose(1, 2).flatten(1)  # place before channel: pooled over whole rows

    def __call__(self, maps: Float[Tensor, "pairs c h w"]) -> Float[Tensor, "pairs d h2 w2"]:
        if not self.is_matrix:
            return functional.max_pool2d(functional.conv2d(maps, self.weight, self.bias, padding=self.padding), 2)
        products = (maps.flatten(1) @ self.matrix).view(len(maps), 4, self.channels)
        return (products.amax(1) + self.bias.to(products.dtype))[..., None, None]


@METHODS.register("relation")
class Relation(Method):
    """A network learns to compare: support maps of a class are summed, laid on the query's, and scored (Sung 2018).

    The released code never leaves batch statistics, also in the test, where queries then see each other:
    ``batch_norm="transductive"``. By default batch norm uses the running statistics of training.
    """

    title = "Relation Networks: a learned comparison of feature maps"
    source = "Sung, Yang, Zhang, Xiang, Torr and Hospedales, CVPR 2018"
    default_encoder = "relation"
    network_head = True
    compares_maps = True
    must_train = "relation module"

    def __init__(
        self,
        encoder: Encoder,
        relation_loss: Literal["mse", "cross-entropy"] = "mse",
        batch_norm: Literal["inductive", "transductive"] = "inductive",
    ) -> None:
        super().__init__(encoder)
        channels, height, width = encoder.feature_shape
        self.relation = RelationModule(channels, (height, width))
        self.relation_loss = relation_loss
        self.sees_whole_episode = self.transductive = batch_norm == "transductive"
        if self.transductive:
            set_batch_statistics(self)

    def logits(
        self,
        support: Float[Tensor, "batch way shot c h w"],
        query: Float[Tensor, "batch queries c h w"],
        unlabeled: Float[Tensor, "batch unlabeled c h w"] | None = None,
    ) -> Float[Tensor, "batch queries way"]:
        scores: Tensor = self.relation(support.sum(dim=2), query)
        return scores

    def prepare(self, table: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
        parts = [self.relation.prepare(rows) for rows in torch.split(table, _MAPS_AT_ONCE)]
        of_support, of_query = zip(*parts, strict=True)
        return torch.cat(of_support), torch.cat(of_query)

    def logits_of_prepared(
        self,
        support: Float[Tensor, "batch way shot 4 d h w"],
        query: Float[Tensor, "batch queries 4 d h w"],
        unlabeled: Tensor | None = None,
    ) -> Float[Tensor, "batch queries way"]:
        return self.relation.score_prepared(support.sum(dim=2), query)  # as linear as the convolution behind it

    def loss_of_embedded(
        self,
        support: Float[Tensor, "batch way shot *feature"],
        query: Float[Tensor, "batch queries *feature"],
        unlabeled: Float[Tensor, "batch unlabeled *feature"] | None,
        labels: Int64[Tensor, "batch queries"],
    ) -> Float[Tensor, ""]:
        scores = self.scored(support, query, unlabeled)
        if self.relation_loss == "cross-entropy":
            return functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
        target = (labels[..., None] == torch.arange(scores.shape[-1], device=labels.device)).to(scores)
        return functional.mse_loss(scores.sigmoid(), target)

    def working_numbers(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        maps = torch.Size(self.encoder.feature_shape).numel()
        return super().working_numbers(way, shot, queries, unlabeled) + 4 * (way * shot + queries) * maps
