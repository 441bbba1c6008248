"""What every loss on labeled embeddings answers, and what several of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from episodes.registry import Registry, entries_of_package
from fewshot.models.options import Search

LOSSES: Registry[type[Loss]] = Registry(
    "loss", "fewshot.losses", lambda: Loss, own=entries_of_package("fewshot.models.losses")
)


class Loss(nn.Module, ABC):
    """(embeddings, labels) -> a number to be made small. Proxies, centers and linear weights live inside.

    A keyword of a subclass's constructor is a hyperparameter and appears as an option of the model of the same name.
    A batch in which there is nothing to compare costs zero, with a gradient of zero.
    """

    title: ClassVar[str]  # one line for `fewshot list models`
    source: ClassVar[str]  # the citation
    formula: ClassVar[str] = ""  # TeX, for the reference
    on_unit_sphere: ClassVar[bool] = False  # embeddings are normalized to length 1, in the test as well
    self_supervised: ClassVar[bool] = False  # a label is the number of the image that a view was made of
    views: ClassVar[int] = 1  # augmented copies of each image in a batch, one batch of copies after the other
    search: ClassVar[Search] = {}  # what `fewshot tune` tries beside learning rate and optimizer: one option

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.dim, self.num_classes = dim, num_classes

    @abstractmethod
    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss of a batch. Labels are class ids of the training set, 0 to num_classes - 1."""


def nothing(embeddings: Float[Tensor, "n dim"]) -> Float[Tensor, ""]:
    """Zero, with a gradient of zero: the loss of a batch without any pair."""
    return 0 * embeddings.sum()


def pairs_in(labels: Int64[Tensor, " n"]) -> tuple[Bool[Tensor, "n n"], Bool[Tensor, "n n"]]:
    """Positive pairs (two different images of one class) and negative pairs (of two classes)."""
    same = labels[:, None] == labels
    return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same


def mean_of(values: Float[Tensor, "*shape"], chosen: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """The mean of the chosen values; zero where none is."""
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp_min(1)
