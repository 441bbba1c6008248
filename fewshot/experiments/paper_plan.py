"""Published numbers beside ours: which record fills which cell of a paper's table, how far apart, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.models.methods import METHODS
from fewshot.models.options import non_default_options
from fewshot.records.paper_tables import Ours, PaperColumn, PaperRow, PaperTable
from fewshot.records.published import Published, Verdict, verdict
from fewshot.records.record import RunRecord
from fewshot.records.rows import Entry, entries_by_cell
from fewshot.training.recipes import find_recipe, recipe_fields

FEWEST_EPISODES = 600

HOW = (
    "Verdict: matches where the gap is within the root of the sum of both squared 95 % half widths, else above or "
    "below; none against a number that was not checked in a document. Where the paper prints no interval the gap is "
    "held against ±t points, by which trainings of one recipe may lie apart."
)


@dataclass(frozen=True)
class OurNumber:
    """Ours in one cell, in percent, from the records of one training set-up that differ in their seed alone."""

    accuracy: float
    ci95: float
    covers: str
    records: tuple[RunRecord, ...]


@dataclass(frozen=True)
class PaperCell:
    """One cell of a paper's table, filled or not."""

    table: PaperTable
    row: PaperRow
    column: PaperColumn
    published: Published | None
    ours: OurNumber | None

    @property
    def gap(self) -> float | None:
        """Ours less published, in points."""
        return self.ours.accuracy - self.published.accuracy if self.ours and self.published else None

    @property
    def verdict(self) -> Verdict | None:
        """In words; see HOW. None where a number is missing."""
        if self.gap is None or self.published is None or self.ours is None:
            return None
        return verdict(self.gap, self.ours.ci95, self.published)

    @property
    def within_tolerance(self) -> bool | None:
        """Whether the gap is one that trainings of one recipe may have among themselves."""
        return None if self.gap is None else abs(self.gap) <= self.column.tolerance

    @property
    def is_missing(self) -> bool:
        """Whether a model of ours belongs here and has no record."""
        return self.row.ours is not None and self.ours is None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        published, ours, column = self.published, self.ours, self.column
        return {
            "row": self.row.name,
            "column": _parts(column, "way", "shot", "distractors", "dirichlet"),
            "published": published and _parts(published, "accuracy", "ci95", "printed", "source", "table", "status"),
            "ours": ours
            and _parts(ours, "accuracy", "ci95", "covers")
            | {
                "recipe": ours.records[0].recipe,
                "seeds": [record.seed for record in ours.records],
                "protocol": ours.records[0].protocol,
                "checkpoints": [record.trained.checkpoint for record in ours.records],
            },
            "gap": self.gap,
            "verdict": self.verdict,
            "within_tolerance": self.within_tolerance,
            "tolerance": column.tolerance,
            "commands": commands(self) if self.is_missing else [],
        }


def _parts(of: object, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


def fill(table: PaperTable, records: Iterable[RunRecord]) -> list[PaperCell]:
    """Every cell of a table, row by row."""
    usable = [record for record in records if _counts(record)]
    return [
        PaperCell(table, row, column, table.published(row, column), _measured(table, row, column, usable))
        for row in table.rows
        for column in table.columns
    ]


def _counts(record: RunRecord) -> bool:
    whole = not record.shortened and record.recipe != "smoke" and record.protocol_name.is_current
    return whole and not record.trained_elsewhere


def _measured(table: PaperTable, row: PaperRow, column: PaperColumn, records: Sequence[RunRecord]) -> OurNumber | None:
    """Trained at the shot of the test or of our recipe before others, then by the paper's recipe, most seeds, latest.

    The latest, not the longest: recipes get better, and none is shortened here.
    """
    if row.ours is None:
        return None
    ours = row.ours
    found = entries_by_cell(record for record in records if fits(record, table, ours, column))
    measured = [entry for entries in found.values() for entry in entries]
    if not measured:
        return None
    return _over_seeds(max(measured, key=lambda entry: _preference(entry, column, table.dataset)))


def _preference(entry: Entry, column: PaperColumn, dataset: str) -> tuple[bool, bool, int, int, str]:
    latest = max(entry.records, key=lambda record: record.date)
    ours = find_recipe("fast", dataset, column.shot, latest.model, column.way)
    at_shot = latest.trained.recipe.train_shot in (column.shot, ours.train_shot)
    return at_shot, latest.recipe == "paper", len(entry.records), latest.num_episodes, latest.date


def fits(record: RunRecord, table: PaperTable, ours: Ours, column: PaperColumn) -> bool:
    """Whether a record is of this cell: pixels, test, model as tested, and what the row says of the training."""
    if (record.test.way, record.test.shot) != (column.way, column.shot):  # most are not: at once
        return False
    trained, test, protocol = record.trained, record.test, record.protocol_name
    model, options = ours.tested_at(column.shot)
    facts = (
        (record.pixels_way_shot, (table.pixels_of(ours), column.way, column.shot)),
        (protocol.published_as == column.protocol, True),
        (record.num_episodes >= FEWEST_EPISODES or bool(column.protocol), True),
        (record.model, model),
        (record.readout, ours.readout),
        (test.query, ours.query(column) if "query" in ours.test else test.query),
    )
    if any(found != wanted for found, wanted in facts):
        return False
    of_recipe = _options_of_recipe(record, table, column) if "as" not in ours.test else {}
    if trained.model_options not in [_as_recorded(model, said) for said in (options, {**of_recipe, **options})]:
        return False
    unlabeled, distractors = ours.unlabeled(column)
    training: dict[str, Any] = {"labeled_share": None} | dict(ours.training)
    training |= {"distractors": column.distractors or None} if "unlabeled" in ours.training else {}
    return (
        (trained.encoder, trained.encoder_options) == (ours.encoder_name, dict(ours.encoder_options))
        and all(getattr(trained.recipe, name) == value for name, value in training.items())
        and (test.unlabeled, test.distractors, test.dirichlet) == (unlabeled, distractors, column.dirichlet)
        and trained.corruption == ours.damage
        and (trained.trained_as.model if trained.trained_as else record.model) == ours.model
    )


def _options_of_recipe(record: RunRecord, table: PaperTable, column: PaperColumn) -> dict[str, Any]:
    """The options of a method that its recipe brings (they were tuned with it), where the row says nothing of them."""
    if record.recipe != "fast" or record.model not in METHODS:
        return {}
    fields, _ = recipe_fields("fast", table.dataset, column.shot, record.model, column.way, None, None)
    return dict(fields.get("options", {}))


def _as_recorded(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Without defaults, which a row says where its recipe has something else."""
    return non_default_options(METHODS.get(model), options, f"model {model}") if model in METHODS else dict(options)


def _over_seeds(row: Entry) -> OurNumber:
    """The mean over seeds, with the interval over seeds and episodes together; of one training it says so."""
    seeds = f"; seed {row.first.seed}" if len(row.seeds) == 1 else f" and {len(row.seeds)} seeds"
    half_width, unit = 100 * row.interval.half_width, row.over_episodes.unit
    return OurNumber(100 * row.interval.mean, half_width, f"{unit}{seeds}", row.records)


def commands(cell: PaperCell, recipe: str = "fast") -> list[str]:
    """What fills a cell, as typed: a training with its test, and a second test where that has another rule."""
    tests = [replace(test, checkpoint=Path("CHECKPOINT")) for test in tests_of(cell)]
    return [config.to_command() for config in (run_of(cell, recipe), *tests)]


def run_of(cell: PaperCell, recipe: str = "fast", seed: int = 0) -> RunConfig:
    """The run that a cell needs."""
    table, column, ours = cell.table, cell.column, cell.row.ours
    assert ours is not None
    distractors = {"distractors": column.distractors or None} if "unlabeled" in ours.training else {}
    return RunConfig(
        model=ours.model,
        dataset=None if table.dataset == "omniglot" else table.dataset,
        class_split="lake" if table.class_split == "lake" else None,
        size=105 if table.pixels_of(ours).endswith("-105") else None,
        way=column.way,
        shot=column.shot,
        query=_query_of(ours, column),
        dirichlet=column.dirichlet or None,
        protocol=column.protocol or "episodes",
        encoder=ours.encoder or None,
        damage=ours.damage or None,
        readout=ours.readout or None,
        recipe="fast" if ours.untrained else recipe,
        seed=seed,
        model_options=ours.options,
        encoder_options=ours.encoder_options,
        **(dict(ours.training) | distractors),
    )


def tests_of(cell: PaperCell) -> list[EvaluateConfig]:
    """The test of what ``run_of`` trains, where a cell is tested by another rule; its checkpoint is left open."""
    column, ours = cell.column, cell.row.ours
    if ours is None or not ours.test:
        return []
    unlabeled, distractors = ours.unlabeled(column)
    test = EvaluateConfig(
        way=(column.way,),
        shot=(column.shot,),
        as_model=ours.test.get("as"),
        damage=ours.test.get("damage"),
        query=_query_of(ours, column),
        dirichlet=column.dirichlet or None,
        unlabeled=unlabeled or None,
        distractors=distractors or None,
        model_options=ours.test_options(column.shot),
    )
    return [test]


def _query_of(ours: Ours, column: PaperColumn) -> int:
    """Queries a class; those of published runs are theirs."""
    return 15 if column.protocol else ours.query(column)
