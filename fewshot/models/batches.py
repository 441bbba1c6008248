"""Training batches as pixels: the images of episodes, and labeled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from episodes.types import Episode, LabeledRows, gather


@dataclass(frozen=True, eq=False)
class EpisodeImages:
    """The pixels of a batch of training episodes."""

    support: UInt8[Tensor, "batch way shot c h w"]
    query: UInt8[Tensor, "batch queries c h w"]
    labels: Int64[Tensor, "batch queries"]
    unlabeled: UInt8[Tensor, "batch unlabeled c h w"] | None = None

    def to(self, device: torch.device) -> EpisodeImages:
        """The same pixels on another device."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.to(device)
        return EpisodeImages(self.support.to(device), self.query.to(device), self.labels.to(device), unlabeled)

    def changed(self, augment: Callable[[Tensor], Tensor] | None) -> EpisodeImages:
        """The episodes with other pixels under the same labels."""
        if augment is None:
            return self
        parts = [part for part in (self.support, self.query, self.unlabeled) if part is not None]
        images = [part.flatten(0, -4) for part in parts]
        pieces = torch.split(augment(torch.cat(images)), [len(part) for part in images])
        support, query, *unlabeled = (
            piece.view(*part.shape[:-3], *piece.shape[1:]) for piece, part in zip(pieces, parts, strict=True)
        )
        return EpisodeImages(support, query, self.labels, *unlabeled)

    def labeled(self, views: int = 1) -> LabeledImages:
        """Support and queries as one batch of labeled images, ``views`` times over; the label is the row of the way
        axis."""
        batch, way, shot = self.support.shape[:3]
        of_support = torch.arange(way, device=self.labels.device).repeat_interleave(shot).repeat(batch)
        images = torch.cat([self.support.flatten(0, 2), self.query.flatten(0, 1)])
        return LabeledImages(images, torch.cat([of_support, self.labels.flatten()])).times(views)


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The pixels of a training batch of images; of several views of each, all first views before all second ones."""

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]

    def to(self, device: torch.device) -> LabeledImages:
        """The same pixels on another device."""
        return LabeledImages(self.images.to(device), self.labels.to(device))

    def times(self, views: int) -> LabeledImages:
        """The batch as often, one after the other."""
        return LabeledImages(self.images.repeat(views, 1, 1, 1), self.labels.repeat(views))

    def changed(self, augment: Callable[[Tensor], Tensor] | None) -> LabeledImages:
        """The batch with other pixels under the same labels."""
        return self if augment is None else LabeledImages(augment(self.images), self.labels)


def episode_images(images: UInt8[Tensor, "num_images c h w"], episode: Episode) -> EpisodeImages:
    """Rows turned into pixels."""
    unlabeled = None if episode.unlabeled is None else gather(images, episode.unlabeled)
    return EpisodeImages(gather(images, episode.support), gather(images, episode.query), episode.labels, unlabeled)


def training_images(
    images: UInt8[Tensor, "num_images c h w"], drawn: Episode | LabeledRows
) -> EpisodeImages | LabeledImages:
    """Rows of a training step turned into pixels."""
    if isinstance(drawn, Episode):
        return episode_images(images, drawn)
    return LabeledImages(gather(images, drawn.rows), drawn.labels)
