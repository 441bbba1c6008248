"""Relation Networks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.batches import EpisodeImages
from fewshot.models.encoders.base import Encoder
from fewshot.models.encoders.conv import running_affine, set_batch_statistics, uses_batch_statistics
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.options import Search
from fewshot.models.shapes import Labels, QueryFeatures, Scores, SupportFeatures, UnlabeledFeatures

_MAPS_AT_ONCE = 1024
_PAIRS_AT_ONCE = 4096  # in evaluation: their maps then fit into the processor's cache
_FIXED_POINT = 1024  # steps of one: half a thousandth is the error, below that of bfloat16 from 0.25 on
_FIXED_LIMIT = 16  # of each half of a pair: the sum of two halves fits into 16 bits


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

    def forward(self, support: Float[Tensor, "batch way c h w"], query: Float[Tensor, "batch queries c h w"]) -> Scores:
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
    ) -> tuple[Float[Tensor, "n 4 h2 w2 d"], Float[Tensor, "n 4 h2 w2 d"]]:
        """What a map contributes to its pairs in evaluation: as a support image, and as a query.

        Each half of the first convolution with the batch norm folded in, sorted by the places of the pooling windows,
        channels last.
        """
        scale, shift = running_affine(self.norm1)
        halves = self.pairs.of_support.weight, self.pairs.of_query.weight
        weight = torch.cat([half * scale.view(-1, 1, 1, 1) for half in halves])
        bias = torch.cat([torch.zeros_like(shift), shift])
        both = functional.conv2d(maps, weight, bias, padding=self.pairs.of_support.padding)
        of_support, of_query = _window_places(both).chunk(2, dim=-1)
        return of_support.contiguous(), of_query.contiguous()

    def score_prepared(
        self, support: Float[Tensor, "batch way 4 h w d"], query: Num[Tensor, "batch queries 4 h w d"]
    ) -> Scores:
        """Scores from what ``prepare`` made, few pairs at a time, so that they stay in the processor's cache.

        Adding pairs up and pooling them is done window place by window place: no map of a pair is ever whole. Where
        queries are fixed-point numbers (``fixed_point``) it is done in these, which a processor adds four times as fast
        as bfloat16, and more exactly.
        """
        dtype, shape, steps = support.dtype, support.shape[3:], 1
        if query.dtype == torch.int16:
            support, query, steps = _of_one_kind(support, query)
        left = support[:, None].flatten(4).unbind(3)  # (batch, 1, way, h * w * d), four times
        right = query[:, :, None].flatten(4).unbind(3)
        scale, shift = running_affine(self.norm2)
        weight = self.convolution.weight * scale.view(-1, 1, 1, 1) / steps
        second = _SmallConvolution(weight, self.convolution.padding, shape[:2])
        block = max(1, _PAIRS_AT_ONCE // (len(query) * support.shape[1]))
        pooled = []
        for first in range(0, query.shape[1], block):
            of_queries = [place[:, first : first + block] for place in right]
            x = left[0] + of_queries[0]  # (batch, queries, way, h * w * d)
            for of_support, of_query in zip(left[1:], of_queries[1:], strict=True):
                x = torch.maximum(x, of_support + of_query)
            maps = second(torch.unflatten(x.relu_().flatten(0, 2).to(dtype), 1, shape))
            pooled.append(torch.unflatten(maps, 0, x.shape[:3]))
        maps = torch.cat(pooled, dim=1)
        numbers = functional.relu(maps + shift.view(-1, 1, 1).to(maps.dtype)).flatten(3)
        scores: Tensor = self.score(functional.relu(self.hidden(numbers)))
        return scores.squeeze(-1)


def fixed_point(x: Tensor) -> Tensor:
    """Numbers below 16 in steps of 1/1024; as they are where one is larger, or elsewhere than on a processor.

    What is below -16 becomes -16: in a sum with another below 16 it is cut off at zero all the same.
    """
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or not bool(x.amax() < _FIXED_LIMIT):
        return x
    steps = (x.float() * _FIXED_POINT).round_()
    return steps.clamp_(-_FIXED_POINT * _FIXED_LIMIT, _FIXED_POINT * _FIXED_LIMIT - 1).to(torch.int16)


def _of_one_kind(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor, int]:
    """Support made fixed-point as its queries are, or these made floating-point where it is too large; steps of one."""
    of_support = fixed_point(support)
    if of_support.dtype == torch.int16:
        return of_support, query, _FIXED_POINT
    return support, (query.float() / _FIXED_POINT).to(support.dtype), 1


def _window_places(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 4 h2 w2 c"]:
    """The numbers of every 2x2 pooling window, by their place in it, channels last."""
    height, width = (side // 2 * 2 for side in maps.shape[-2:])
    places = [maps[..., row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    return torch.stack(places, dim=1).permute(0, 1, 3, 4, 2)


class _SmallConvolution:
    """A convolution and 2x2 max pooling; on maps of 2x2, where all see all, one matrix does it.

    A cheaper product of lower rank would not be exact. Tried on trained weights (Omniglot, 20-way, validation classes):
    the matrix has its full rank of 256, no input is always zero, and 244 directions hold 99.9 % of what enters it. Rank
    64 halves the multiplications and costs 0.06 points of accuracy, so it is left as it is.
    """

    def __init__(self, weight: Tensor, padding: Any, size: Any) -> None:
        self.weight, self.padding = weight, padding
        self.channels, self.is_matrix = weight.shape[0], tuple(size) == (2, 2)
        if self.is_matrix:  # a convolution is linear: what it makes of the unit maps are the rows of its matrix
            inputs = 4 * weight.shape[1]
            unit_maps = torch.eye(inputs, dtype=weight.dtype, device=weight.device).view(inputs, 2, 2, -1)
            made = functional.conv2d(unit_maps.permute(0, 3, 1, 2), weight, padding=padding)
            self.matrix = made.flatten(2).transpose(1, 2).flatten(1)  # place before channel: pooled over whole rows

    def __call__(self, maps: Float[Tensor, "pairs h w c"]) -> Float[Tensor, "pairs d h2 w2"]:
        if not self.is_matrix:
            made = functional.conv2d(maps.permute(0, 3, 1, 2), self.weight, padding=self.padding)
            return functional.max_pool2d(made, 2)
        products = maps.flatten(1) @ self.matrix.to(maps.dtype)
        half = 2 * self.channels
        larger = torch.maximum(products[:, :half], products[:, half:])
        return torch.maximum(larger[:, : self.channels], larger[:, self.channels :])[..., None, None]


@METHODS.register("relation")
class Relation(Method):
    """A network learns to compare: support maps of a class are summed, laid on the query's, and scored (Sung 2018).

    By default batch norm uses the running statistics of training. ``batch_norm="transductive"`` takes those of the
    whole episode, also in the test, where queries then see each other. ``released`` is what the released code does:
    support and queries are embedded apart, each with its own statistics, and a test embeds and scores
    ``queries_at_once`` queries of each class at a time: 3 at 1 shot and 5 at 5 shots on miniImageNet; all, which is 0,
    on Omniglot, where it has as many queries a class as shots.
    """

    title = "Relation Networks: a learned comparison of feature maps"
    source = "Sung, Yang, Zhang, Xiang, Torr and Hospedales, CVPR 2018"
    formula = (
        r"r_k(x)=\sigma\left(h\left(\left[\sum_{x_i\in S_k}f(x_i),\;f(x)\right]\right)\right),\quad "
        r"\mathcal{L}=\frac{1}{N}\sum_k\left(r_k(x)-[y=k]\right)^2"
    )
    search: ClassVar[Search] = {"relation_loss": ("mse", "cross-entropy")}
    default_encoder = "relation"
    network_head = True
    compares_maps = True
    must_train = "relation module"

    def __init__(
        self,
        encoder: Encoder,
        relation_loss: Literal["mse", "cross-entropy"] = "mse",
        batch_norm: Literal["inductive", "transductive", "released"] = "inductive",
        queries_at_once: int = 0,
    ) -> None:
        super().__init__(encoder)
        if queries_at_once and batch_norm != "released":
            raise UserError("--queries-at-once is of --batch-norm released: name that, or leave it out")
        if queries_at_once < 0:
            raise UserError(f"--queries-at-once must be 1 or more, or 0 for all, not {queries_at_once}")
        channels, height, width = encoder.feature_shape
        self.relation = RelationModule(channels, (height, width))
        self.relation_loss = relation_loss
        self.batch_norm, self.queries_at_once = batch_norm, queries_at_once
        self.embeds_per_episode = self.transductive = batch_norm != "inductive"
        if self.transductive:
            set_batch_statistics(self)

    def logits(
        self,
        support: Float[Tensor, "batch way shot c h w"],
        query: Float[Tensor, "batch queries c h w"],
        unlabeled: Float[Tensor, "batch unlabeled c h w"] | None = None,
    ) -> Scores:
        scores: Tensor = self.relation(support.sum(dim=2), query)
        return scores

    def embed_episode(self, batch: EpisodeImages) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.batch_norm != "released":
            return super().embed_episode(batch)
        support, query = (self.embed(images.flatten(0, -4)) for images in (batch.support, batch.query))
        shapes = batch.support.shape[:-3], batch.query.shape[:-3]
        return support.reshape(*shapes[0], *support.shape[1:]), query.reshape(*shapes[1], *query.shape[1:]), None

    def loss_over_rotations(self, batch: EpisodeImages) -> Float[Tensor, ""]:
        if self.batch_norm == "released":  # another division of the images has other embeddings
            raise UserError(
                "with --batch-norm released support and queries have batch statistics of their own and cannot change "
                "places: leave out --turns"
            )
        return super().loss_over_rotations(batch)

    def prepare(self, table: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
        parts = [self.relation.prepare(rows) for rows in torch.split(table, _MAPS_AT_ONCE)]
        of_support, of_query = zip(*parts, strict=True)
        fixed = [fixed_point(part) for part in of_query]
        alike = all(part.dtype == torch.int16 for part in fixed)
        return torch.cat(of_support), torch.cat(fixed if alike else of_query)

    def logits_of_prepared(
        self,
        support: Float[Tensor, "batch way shot 4 h w d"],
        query: Num[Tensor, "batch queries 4 h w d"],
        unlabeled: Tensor | None = None,
    ) -> Scores:
        return self.relation.score_prepared(support.sum(dim=2), query)  # as linear as the convolution behind it

    def loss_of_embedded(
        self, support: SupportFeatures, query: QueryFeatures, unlabeled: UnlabeledFeatures | None, labels: Labels
    ) -> Float[Tensor, ""]:
        scores = self.scored(support, query, unlabeled)
        if self.relation_loss == "cross-entropy":
            return functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
        target = (labels[..., None] == torch.arange(scores.shape[-1], device=labels.device)).to(scores)
        return functional.mse_loss(scores.sigmoid(), target)

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        maps = torch.Size(self.encoder.feature_shape).numel()
        return super().peak_elements(way, shot, queries, unlabeled) + 4 * (way * shot + queries) * maps
