"""What every method answers: embed images, logits of an episode given the embeddings, loss of a training batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from episodes.registry import Registry, entries_of_package
from fewshot.models.batches import EpisodeImages, LabeledImages
from fewshot.models.distances import UNMOVED, Invariance, full_precision, nearest_mean_logits
from fewshot.models.encoders.base import Encoder
from fewshot.models.options import Search
from fewshot.models.shapes import (
    Labels,
    Query,
    QueryFeatures,
    Scores,
    Support,
    SupportFeatures,
    Unlabeled,
    UnlabeledFeatures,
)

METHODS: Registry[type[Method]] = Registry(
    "model", "fewshot.methods", lambda: Method, own=entries_of_package("fewshot.models.methods")
)


class UntrainedError(UserError):
    """A method whose rule is noise until it was trained, and was not. The message says what to do."""


class Method(nn.Module, ABC):
    """An encoder and a rule from the embeddings of an episode to logits.

    A keyword of a subclass's constructor is a hyperparameter: it gets the paper's default, appears as an option of
    the command line (``--distance cosine``) and is stored in the record.
    """

    title: ClassVar[str]  # one line for `fewshot list models`
    source: ClassVar[str]  # the citation
    formula: ClassVar[str] = ""  # TeX, for the reference
    default_encoder: ClassVar[str] = "conv4"
    trains_on: ClassVar[Literal["episodes", "images", "nothing"]] = "episodes"
    views: ClassVar[int] = 1  # augmented copies of each image in a training batch
    uses_unlabeled: ClassVar[bool] = False
    adapts: ClassVar[bool] = False  # learns anew in every episode, so that testing costs as much as training
    self_supervised: ClassVar[bool] = False  # no label is used in training
    search: ClassVar[Search] = {}  # what `fewshot tune` tries beside learning rate and optimizer: one option
    network_head: ClassVar[bool] = False  # the rule is a network and runs in the precision of the encoder
    compares_maps: ClassVar[bool] = False  # the encoder must give feature maps; all others work on flat embeddings
    transductive: bool = False
    embeds_per_episode: bool = False  # embeddings depend on the other images of the episode: none is made ahead
    queries_at_once: int = 0  # of each class, where it embeds per episode; 0: all queries see each other
    implementation: str = ""  # which one runs, where there are several that round differently
    invariant_to: frozenset[Invariance] = frozenset()  # its answers do not depend on these of the embeddings
    must_train: str = ""  # names the part of the rule that is noise before training; empty where there is none
    trained: bool = False  # set by the training loop and by loading a checkpoint

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if (len(encoder.feature_shape) == 3) != self.compares_maps:
            kinds = ("feature maps", "flat embeddings")
            wanted, given = kinds if self.compares_maps else kinds[::-1]
            raise UserError(
                f"{type(self).__name__} works on {wanted} and {type(encoder).__name__} gives {given}: "
                f"choose --encoder {self.default_encoder}"
            )
        self.encoder = encoder

    @classmethod
    def encoder_needs(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the encoder that follow from the method's own options."""
        return {}

    @classmethod
    def images_encoded(cls, options: Mapping[str, Any], support: int, others: int) -> int:
        """Images that go through an encoder in a training step with so many in the support, and so many others."""
        return cls.views * (support + others)

    def refuse_untrained(self) -> None:
        """Raises UntrainedError where a part of the rule that must be trained never was."""
        if self.must_train and not self.trained:
            raise UntrainedError(
                f"the {self.must_train} of this {type(self).__name__} was never trained, so its scores would be noise: "
                "train it (`fewshot run`, or train() in Python) or load a checkpoint"
            )

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        """Numbers that scoring one episode holds at once: the evaluation cuts its chunks by it."""
        return (way * shot + queries + unlabeled) * torch.Size(self.encoder.feature_shape).numel()

    def embed(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n *feature"]:
        """Embeddings in the precision of the weights, so that distances are never taken between bfloat16 numbers."""
        features: Tensor = self.encoder(images)
        return features.to(self.encoder.mean.dtype)

    @abstractmethod
    def logits(
        self, support: SupportFeatures, query: QueryFeatures, unlabeled: UnlabeledFeatures | None = None
    ) -> Scores:
        """Scores whose softmax is the prediction, for many episodes at once."""

    def prepare(self, table: Float[Tensor, "num_images *feature"]) -> tuple[Tensor, Tensor]:
        """What of the rule concerns one image alone, worked out once for each row of a table of embeddings.

        One row an image, to be gathered where it is in the support, and where it is a query.
        """
        return table, table

    def logits_of_prepared(
        self,
        support: Float[Tensor, "batch way shot *prepared"],
        query: Float[Tensor, "batch queries *prepared"],
        unlabeled: UnlabeledFeatures | None = None,
    ) -> Scores:
        """``logits`` from rows of the tables that ``prepare`` gives."""
        return self.logits(support, query, unlabeled)

    def scored(
        self, support: Tensor, query: Tensor, unlabeled: Tensor | None = None, *, prepared: bool = False
    ) -> Tensor:
        """``logits`` in the precision it bears: full, unless the rule is itself a network."""
        logits = self.logits_of_prepared if prepared else self.logits
        if self.network_head:
            return logits(support, query, unlabeled).to(self.encoder.mean.dtype)
        with full_precision(support):
            return logits(support, query, unlabeled)

    def loss(self, batch: EpisodeImages) -> Float[Tensor, ""]:
        """The training loss of the queries."""
        return self.loss_of_embedded(*self.embed_episode(batch), batch.labels)

    def loss_over_rotations(self, batch: EpisodeImages) -> Float[Tensor, ""]:
        """The mean of ``loss`` with the support rotated: each image of a class is in the support as often as any other.

        ``shot + q`` images of a class have so many rotations, and all are scored on embeddings made once: the
        pairs that a single division leaves unused cost next to nothing (Laenen and Bertinetto, NeurIPS 2021, on what
        episodes leave unused). As many queries of every class are needed.
        """
        support, query, unlabeled = self.embed_episode(batch)
        way, shot = support.shape[1:3]
        order = batch.labels.argsort(dim=1, stable=True)
        of_class = query.take_along_dim(order.reshape(*order.shape, *[1] * (query.ndim - 2)), dim=1)
        images = torch.cat(
            [support, torch.unflatten(of_class, 1, (way, -1))], dim=2
        )  # (batch, way, shot + q, *feature)
        labels = batch.labels.take_along_dim(order, dim=1)
        if not self.network_head:  # all rotations at once: many small products are one
            turns = torch.arange(images.shape[2], device=images.device)
            order = (turns[:, None] + turns) % len(turns)  # (rotations, shot + q)
            rotated = images[:, :, order].transpose(1, 2).flatten(0, 1)  # (batch * rotations, way, shot + q, *feature)
            if unlabeled is not None:
                unlabeled = unlabeled.repeat_interleave(len(turns), dim=0)
            return self._loss_of_divided(rotated, shot, unlabeled, labels.repeat_interleave(len(turns), dim=0))
        rotations = [images.roll(-offset, dims=2) for offset in range(images.shape[2])]
        return torch.stack([self._loss_of_divided(one, shot, unlabeled, labels) for one in rotations]).mean()

    def _loss_of_divided(self, images: Tensor, shot: int, unlabeled: Tensor | None, labels: Tensor) -> Tensor:
        """The loss where the first ``shot`` of the images of a class, (batch, way, shot + q, *feature), are support."""
        support, query = torch.split(images, [shot, images.shape[2] - shot], dim=2)
        return self.loss_of_embedded(support, query.flatten(1, 2), unlabeled, labels)

    def loss_of_embedded(
        self, support: SupportFeatures, query: QueryFeatures, unlabeled: UnlabeledFeatures | None, labels: Labels
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the queries; a method with another training loss overrides this."""
        logits = self.scored(support, query, unlabeled)
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def loss_of_images(self, batch: LabeledImages) -> Float[Tensor, ""]:
        """The loss of a batch of labeled images, for a method that trains on images."""
        raise TypeError(f"{type(self).__name__} trains on {self.trains_on}")

    def samples(self) -> UInt8[Tensor, "n c h w"] | None:
        """Images that it makes up, to be looked at while it trains; None for a method that makes none."""
        return None

    def embed_episode(self, batch: EpisodeImages) -> tuple[Tensor, Tensor, Tensor | None]:
        """Support, query and unlabeled embeddings, made in one pass: in training they share batch statistics."""
        parts = [batch.support, batch.query] + ([] if batch.unlabeled is None else [batch.unlabeled])
        num_pixel_axes = 3
        leading = [part.shape[:-num_pixel_axes] for part in parts]
        embeddings = self.embed(torch.cat([part.flatten(0, -num_pixel_axes - 1) for part in parts]))
        pieces = torch.split(embeddings, [shape.numel() for shape in leading])
        shaped = [piece.reshape(*shape, *piece.shape[1:]) for piece, shape in zip(pieces, leading, strict=True)]
        return shaped[0], shaped[1], shaped[2] if batch.unlabeled is not None else None


class NearestMean(Method):
    """A query takes the class whose mean embedding is nearest, by squared Euclidean distance."""

    invariant_to = UNMOVED

    def logits(self, support: Support, query: Query, unlabeled: Unlabeled | None = None) -> Scores:
        return nearest_mean_logits(support, query)
