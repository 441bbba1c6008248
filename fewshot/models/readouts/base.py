"""What every read-out answers: logits of the queries, given embeddings that nobody changes any more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from episodes.errors import UserError
from episodes.registry import Registry, entries_of_package
from fewshot.models.distances import UNMOVED, Invariance, conditioned, unit_length
from fewshot.models.shapes import Query, Scores, Support, Table

READOUTS: Registry[type[Readout]] = Registry(
    "read-out", "fewshot.readouts", lambda: Readout, own=entries_of_package("fewshot.models.readouts")
)
_CLOSE = 0.05  # the farthest that unit vectors are from their mean where single precision no longer tells them apart


class UnfitEmbeddingsError(UserError):
    """Embeddings that a read-out cannot classify. The message says what to do."""


class Readout(ABC):
    """A classifier of frozen embeddings, fitted to the support of each episode, for many episodes at once.

    It gets all queries of an episode at once. One that lets them see each other says so (``transductive``): it is
    ranked apart, and a test holds it to its word. Hyperparameters are keywords of the constructor.
    """

    title: ClassVar[str]  # one line for `fewshot list readouts`
    source: ClassVar[str]  # the citation
    formula: ClassVar[str] = ""  # TeX, for the reference
    transductive: ClassVar[bool] = False  # what it says of a query depends on the other queries of the episode
    needs_train_mean: ClassVar[bool] = False  # the mean embedding of the training images
    invariant_to: ClassVar[frozenset[Invariance]] = frozenset()  # its answers do not depend on these

    def prepare(self, table: Table, train_mean: Float[Tensor, " dim"] | None = None) -> Table:
        """What of the rule concerns one image alone, worked out once for each row of a table of embeddings.

        Raises UnfitEmbeddingsError where the rule makes nothing of such embeddings.
        """
        return conditioned(table, self.invariant_to)[0]

    @abstractmethod
    def logits(self, support: Support, query: Query) -> Scores:
        """Scores of which the largest is the prediction, from rows of the table that ``prepare`` gives."""

    def peak_elements(self, way: int, shot: int, queries: int, dim: int) -> int:
        """Numbers that scoring one episode holds at once: the evaluation cuts its chunks by it."""
        return (way * shot + queries) * (dim + way * shot)


class UnitLengthReadout(Readout):
    """A read-out of embeddings of length 1.

    Unit vectors may be so close together that what tells them apart is below the digits of single precision (one large
    column that is constant does that). Such tables are computed with in double precision.
    """

    invariant_to = frozenset({"scale"})

    def prepare(self, table: Table, train_mean: Float[Tensor, " dim"] | None = None) -> Table:
        rows = unit_length(table.double())
        farthest = torch.linalg.vector_norm(rows - rows.mean(0), dim=-1).max()
        return rows if farthest < _CLOSE else rows.float()


class CenteredReadout(Readout):
    """A read-out of embeddings less the mean of the training images, then of length 1 (CL2N of Wang et al. 2019)."""

    needs_train_mean = True
    invariant_to = UNMOVED

    def prepare(self, table: Table, train_mean: Float[Tensor, " dim"] | None = None) -> Table:
        if train_mean is None:
            raise ValueError(f"{type(self).__name__} needs the mean embedding of the training images")
        rows, mean = conditioned(table, self.invariant_to, train_mean)
        assert mean is not None
        return unit_length(rows - mean)


def support_labels(support: Support) -> Int64[Tensor, " images"]:
    """The label of every support image once way and shot are one axis, (way * shot,)."""
    _, way, shot, _ = support.shape
    return torch.arange(way, device=support.device).repeat_interleave(shot)


def support_shares(support: Support) -> Float[Tensor, "way images"]:
    """1 where a support image is of a class, else 0, once way and shot are one axis."""
    return functional.one_hot(support_labels(support), support.shape[1]).T.to(support)
