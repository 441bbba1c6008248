"""The body of leaderboard: the tables of the records; or every model trained and ranked on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from episodes.datasets.base import Dataset
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from fewshot.cli.output import print_sections, published_runs, readable_records
from fewshot.cli.overall import OverallReporter
from fewshot.experiments.config import RunConfig
from fewshot.experiments.resolve import DEFAULT_UNLABELED
from fewshot.experiments.run import run
from fewshot.models.hardware import keep_freed_memory
from fewshot.models.methods import METHODS
from fewshot.models.options import check_choice
from fewshot.records.record import RunRecord
from fewshot.reports.frame import csv_text, leaderboard_frame, quick_columns
from fewshot.reports.leaderboard import overview, unranked
from fewshot.reports.results import check_results, write_results
from fewshot.training.recipes import RECIPES, RecipeName, find_recipe


def leaderboard_command(results: Path, write: bool, check: bool, out: Path, form: str | None, **choices: Any) -> None:
    """fewshot leaderboard."""
    if choices["dataset"] is not None:
        if write or check:
            raise UserError("--dataset ranks runs of its own under --out: leave out --write and --check")
        recipe = check_choice("recipe", choices["recipe"], RECIPES)
        keep_freed_memory()
        dataset = open_dataset(choices["dataset"], choices["data"])
        records = train_all(dataset, recipe, choices["way"], choices["shot"], choices["episodes"], out)
        _print(records, form, smoke=recipe == "smoke")
    elif write:
        for path in write_results(results):
            click.echo(f"written: {path}")
    elif check:
        check_results(results)
        click.echo("README.md and the pages of results say what the records say")
    else:
        _print(readable_records(published_runs(results), out / "records"), form)


def _print(records: Iterable[RunRecord], form: str | None, *, smoke: bool = False) -> None:
    """As tables, or every column of every row as JSON or CSV."""
    frame = leaderboard_frame(records, None if form else quick_columns(), smoke=smoke)
    if form == "csv":
        click.echo(csv_text(frame), nl=False)
    elif form == "json":
        click.echo(frame.to_json(orient="records", indent=1, force_ascii=False))
    else:
        print_sections([*overview(frame), *unranked(frame)])


def train_all(
    dataset: Dataset, recipe: RecipeName, way: int, shot: int, episodes: int, out: Path, seed: int = 0
) -> list[RunRecord]:
    """Train and test every method that can be, one after another, with one progress line; their records.

    A method that does not fit these images or has no such recipe is named with the reason and left
    out. Raises UserError where that is so for all.
    """
    names = list(METHODS)
    records: list[RunRecord] = []
    reasons: list[str] = []
    with OverallReporter(len(names)) as reporter:
        for name in names:
            reporter.begin(name)
            try:
                record = _train_one(name, dataset, recipe, way, shot, episodes, out, seed, reporter)
            except UserError as error:
                reasons.append(f"{name}: {error}")
                reporter.end(f"{name} left out: {error}")
                continue
            records.append(record)
            reporter.end(f"{name} {record.percent()}")
    if not records:
        raise UserError(f"no model could be run on {dataset.name}: {reasons[0]}")
    return records


def _train_one(
    name: str,
    dataset: Dataset,
    recipe: RecipeName,
    way: int,
    shot: int,
    episodes: int,
    out: Path,
    seed: int,
    reporter: OverallReporter,
) -> RunRecord:
    method_class = METHODS.get(name)
    chosen = find_recipe(recipe, dataset.name, shot, name, way)
    unlabeled = (chosen.unlabeled or DEFAULT_UNLABELED) if method_class.uses_unlabeled else 0
    fitting = int(dataset.load("test").class_sizes.min()) - shot - unlabeled
    query = max(1, min(15, fitting))  # a class of strokes has 20 images: 14 queries beside 5 unlabeled ones
    schedule = "fast" if method_class.trains_on == "nothing" else recipe  # there is none to choose
    config = RunConfig(recipe=schedule, model=name, way=way, shot=shot, query=query, episodes=episodes, seed=seed)
    return run(config, dataset, out, reporter)[0]
