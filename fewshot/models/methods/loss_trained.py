"""An encoder trained by any loss on labeled images; episodes are then read out of its frozen embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fewshot.models.batches import EpisodeImages, LabeledImages
from fewshot.models.distances import full_precision, unit_length
from fewshot.models.encoders.base import Encoder
from fewshot.models.losses import LOSSES, Loss
from fewshot.models.methods.base import METHODS, NearestMean


class MetricMethod(NearestMean):
    """Trained on labeled batches of all training classes; a query takes the class of the nearest class mean.

    Its options are those of its loss. Whatever the loss holds besides (linear layer, proxies, centers, projection head)
    serves in training alone: the embedding is the encoder's output, of length 1 where the loss works on unit vectors.
    """

    trains_on: ClassVar[Literal["episodes", "images"]] = "images"
    loss_class: ClassVar[type[Loss]]
    options_from: ClassVar[type]

    def __init__(self, encoder: Encoder, num_classes: int, **options: Any) -> None:
        super().__init__(encoder)
        self.criterion = self.loss_class(encoder.dim, num_classes, **options)

    def embed(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        embeddings = super().embed(images)
        return unit_length(embeddings) if self.loss_class.on_unit_sphere else embeddings

    def loss(self, batch: EpisodeImages) -> Float[Tensor, ""]:
        """The loss of an episode taken as a batch of labeled images."""
        return self.loss_of_images(batch.labeled(self.views))

    def loss_of_images(self, batch: LabeledImages) -> Float[Tensor, ""]:
        num_images = len(batch.images) // self.views
        labels = batch.labels
        if self.self_supervised:  # the number of the image in the batch; the labels are not looked at
            labels = torch.arange(num_images, device=labels.device).repeat(self.views)
        embeddings = self.embed(batch.images)
        with full_precision(embeddings):
            loss: Tensor = self.criterion(embeddings, labels)
        return loss


def _method_of(loss_class: type[Loss]) -> type[MetricMethod]:
    words = ("title", "source", "self_supervised", "views", "search", "__doc__")
    described = {name: getattr(loss_class, name) for name in (*words, "__module__")}  # the module tells whose it is
    name = f"{loss_class.__name__}Method"
    return type(name, (MetricMethod,), described | {"loss_class": loss_class, "options_from": loss_class})


def _of_installed_packages() -> Iterator[tuple[str, type[MetricMethod]]]:
    return ((name, _method_of(LOSSES.get(name))) for name in LOSSES if name not in _OURS)


_OURS = LOSSES.own()
for _name in _OURS:
    METHODS.register(_name)(_method_of(LOSSES.get(_name)))
METHODS.add_later(_of_installed_packages)
