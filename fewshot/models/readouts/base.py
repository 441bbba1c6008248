"""What every read-out answers: logits of the queries, given embeddings that nobody changes any more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from episodes.registry import Registry

READOUTS: Registry[type[Readout]] = Registry("read-out", "fewshot.readouts", lambda: Readout)


class Readout(ABC):
    """A classifier of frozen embeddings, fitted to the support of each episode, for many episodes at once.

    It gets all queries of an episode at once. One that lets them see each other says so (``transductive``): it is
    ranked apart, and a test holds it to its word. Hyperparameters are keywords of the constructor.
    """

    title: ClassVar[str]  # one line for `fewshot list readouts`
    source: ClassVar[str]  # the citation
    transductive: ClassVar[bool] = False  # what it says of a query depends on the other queries of the episode
    needs_train_mean: ClassVar[bool] = False  # the mean embedding of the training images

    @abstractmethod
    def logits(
        self,
        support: Float[Tensor, "batch way shot dim"],
        query: Float[Tensor, "batch queries dim"],
        train_mean: Float[Tensor, " dim"] | None = None,
    ) -> Float[Tensor, "batch queries way"]:
        """Scores of which the largest is the prediction."""

    def peak_elements(self, way: int, shot: int, queries: int, dim: int) -> int:
        """Numbers that scoring one episode holds at once: the evaluation cuts its chunks by it."""
        return (way * shot + queries) * (dim + way * shot)


def support_labels(support: Float[Tensor, "batch way shot dim"]) -> Int64[Tensor, " images"]:
    """The label of every support image once way and shot are one axis, (way * shot,)."""
    _, way, shot, _ = support.shape
    return torch.arange(way, device=support.device).repeat_interleave(shot)
