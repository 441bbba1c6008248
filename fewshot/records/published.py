"""The printed number that a record is held against, found through the rows of the papers' tables; and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from fewshot.records.numbers import COMPARABLE_PIXELS, Published, published
from fewshot.records.paper_tables import Ours, PaperColumn, PaperRow, PaperTable, paper_table, paper_table_names
from fewshot.records.record import RunRecord

__all__ = ["COMPARABLE_PIXELS", "Published", "Verdict", "published", "published_target", "target_of", "verdict"]

Verdict = Literal["matches", "above", "below", "no 95 % interval published", "not comparable", "number not checked"]


@dataclass(frozen=True)
class _Target:
    """A cell of a paper's table that records of some models are held against."""

    table: PaperTable
    row: PaperRow
    ours: Ours
    column: PaperColumn
    number: Published

    @property
    def few_labels(self) -> bool:
        return "labeled_share" in self.ours.training

    @property
    def is_of_episodes(self) -> bool:
        """Whether the episodes are drawn here, so that data set id, way and shot say which cell it is."""
        return not self.column.protocol and self.ours.test.get("as") is None

    def is_of(self, record: RunRecord) -> bool:
        """Whether a record is of this cell: its test, its labels, and what else it saw; never its options."""
        test, trained, column = record.test, record.trained, self.column
        if record.model not in self.row.target or (test.way, test.shot) != (column.way, column.shot):
            return False
        if record.protocol_name.published_as != column.protocol:
            return False
        if column.protocol:
            return (test.dataset, test.class_split) == (self.table.dataset, self.table.class_split)
        if test.dataset_id != self.table.pixels_of(self.ours):
            return False
        before = trained.trained_as.model if trained.trained_as else None
        on_labels = trained.recipe.labeled_share is not None and before == ("proto" if record.uses_unlabeled else None)
        if not self.few_labels:
            batch_norm = self.ours.tested_at(self.column.shot)[1].get("batch_norm", "inductive")
            return not on_labels and record.batch_norm.partition(",")[0] == batch_norm
        refined_in_test_alone = "as" in self.ours.test
        supervised = "unlabeled" not in self.ours.training
        return (
            on_labels == supervised
            and refined_in_test_alone == (supervised and record.uses_unlabeled)
            and bool(column.distractors) == record.has_distractors
        )

    def difference_from(self, record: RunRecord) -> str:
        """Why the number is not comparable with a record, in words; empty where it is.

        It is where it was read in its own document, is of the authors of the method and was tested as the record was:
        images and split in training, too, queries, batch norm, augmentation, and what else the table states.
        """
        theirs, ours = self.table.tested_of(self.row).at(record.test.shot), _tested(record)
        said = [self.number.doubt] if self.number.doubt else []
        said += [record.trained_elsewhere] if record.trained_elsewhere else []
        said += [self.row.by or "not of the authors of the method"] if self.number.kind != "original" else []
        said += [_WORDS[name](of) for name, of in theirs.items() if of is not None and of != ours[name]]
        unstated = [words for name, words in _MUST_BE_STATED.items() if theirs[name] is None]
        return ", ".join(said + ([f"{', '.join(unstated)} not stated"] if unstated else []))


_MUST_BE_STATED = {
    "images": "split",
    "queries": "queries",
    "batch_norm": "batch norm",
    "augmentation": "augmentation",
}
_WORDS: dict[str, Callable[[Any], str]] = {
    "images": str,
    "queries": lambda of: f"{of} {'query' if of == 1 else 'queries'} a class",
    "batch_norm": str,
    "augmentation": lambda of: "without augmentation" if of == "none" else str(of),
    "encoder": str,
    "unlabeled": "{} unlabeled images a class".format,
    "labeled_share": lambda share: f"{100 * share:g} % labels",
    "train_way": "trained {}-way".format,
}


def _tested(record: RunRecord) -> dict[str, Any]:
    """The record's side of ``Tested``."""
    return {
        "images": record.test.dataset_id,
        "queries": record.test.query,
        "batch_norm": record.batch_norm,
        "augmentation": record.trained.recipe.augment or "none",
        "encoder": record.trained.encoder,
        "unlabeled": record.test.unlabeled,
        "labeled_share": record.trained.recipe.labeled_share,
        "train_way": record.trained.recipe.train_way,
    }


@cache
def _targets() -> tuple[_Target, ...]:
    return tuple(
        _Target(table, row, row.ours, column, number)
        for table in map(paper_table, paper_table_names())
        for row in table.rows
        if row.target and row.ours is not None
        for column in table.columns
        if (number := table.published(row, column)) is not None
    )


def target_of(record: RunRecord) -> Published | None:
    """The number a record is held against and its difference; None where no paper has one for what was trained."""
    if record.readout or record.trained.corruption or record.test.dirichlet or record.embeddings is not None:
        return None
    target = next((target for target in _targets() if target.is_of(record)), None)
    return None if target is None else replace(target.number, difference=target.difference_from(record))


def published_target(
    model: str, dataset_id: str, way: int, shot: int, *, distractors: bool = False
) -> Published | None:
    """The number that a model's plain training would be held against on these episodes, before there is a record."""
    return next(
        (
            target.number
            for target in _targets()
            if model in target.row.target
            and target.is_of_episodes
            and (target.table.pixels_of(target.ours), target.column.way, target.column.shot) == (dataset_id, way, shot)
            and not (model == "proto" and target.few_labels)
            and bool(target.column.distractors) == (distractors and target.few_labels)
        ),
        None,
    )


@cache
def models_with_targets() -> frozenset[str]:
    """Every model that a paper prints a number of."""
    return frozenset(model for target in _targets() for model in target.row.target if target.is_of_episodes)


def verdict(gap: float, half_width: float, paper: Published) -> Verdict:
    """``matches`` where the gap lies within the root of the sum of both squared 95 % half widths, all in points.

    Nothing is claimed against a number that was read in no document or is not comparable, nor where the paper prints no
    95 % interval.
    """
    if paper.status == "recalled":
        return "number not checked"
    if paper.difference:
        return "not comparable"
    if paper.ci95 is None:
        return "no 95 % interval published"
    if abs(gap) <= math.hypot(half_width, paper.ci95):
        return "matches"
    return "above" if gap > 0 else "below"
