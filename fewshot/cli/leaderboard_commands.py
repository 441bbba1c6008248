"""The body of leaderboard: the tables of the records; or every model trained and ranked on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from episodes.datasets.base import Dataset
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from fewshot.cli.output import print_sections, published_runs, readable_records
from fewshot.cli.progress import SweepReporter
from fewshot.experiments.config import RunConfig
from fewshot.experiments.resolve import DEFAULT_UNLABELED
from fewshot.experiments.sweep import InThisProcess, Job, Place, sweep, work_of
from fewshot.models.hardware import keep_freed_memory
from fewshot.models.methods import METHODS
from fewshot.models.options import check_choice
from fewshot.records.record import RunRecord
from fewshot.reports.frame import csv_text, leaderboard_frame, quick_columns
from fewshot.reports.leaderboard import overview, unranked
from fewshot.reports.results import check_results, write_results
from fewshot.training.recipes import RECIPES


def leaderboard_command(results: Path, write: bool, check: bool, out: Path, form: str | None, **choices: Any) -> None:
    """fewshot leaderboard."""
    if write and check:
        raise UserError("--write makes the files that --check looks at: leave out one of them")
    if form and (write or check):
        raise UserError(f"--{form} prints the leaderboard, --write and --check are about its files: leave out one")
    if choices["dataset"] is not None:
        if write or check:
            raise UserError("--dataset ranks runs of its own under --out: leave out --write and --check")
        recipe = check_choice("recipe", choices["recipe"], RECIPES)
        keep_freed_memory()
        dataset = open_dataset(choices["dataset"], choices["data"])
        asked = {name: choices[name] for name in ("dataset", "way", "shot", "episodes")}
        records = train_all(dataset, RunConfig(recipe=recipe, **asked), Place(out, choices["data"]))
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


def train_all(dataset: Dataset, config: RunConfig, place: Place) -> list[RunRecord]:
    """Train and test every method that can be, one after another; their records. ``config`` is all but the model.

    A method that does not fit these images or has no such recipe is named with the reason and left out. Raises
    UserError where that is so for all.
    """
    jobs = [Job(name, _run_of(name, dataset, config)) for name in METHODS]
    with SweepReporter(work_of(jobs)) as reporter:
        outcomes, failures = sweep(jobs, InThisProcess(place, reporter), reporter.say)
    if not outcomes:
        raise UserError(f"no model could be run on {dataset.name}: {failures[0]}")
    return [record for record, _ in outcomes]


def _run_of(name: str, dataset: Dataset, config: RunConfig) -> RunConfig:
    """The run of one model. A class of strokes has 20 images: 14 queries are left beside 5 unlabeled ones."""
    method_class = METHODS.get(name)
    unlabeled = DEFAULT_UNLABELED if method_class.uses_unlabeled else 0
    fitting = int(dataset.load("test").class_sizes.min()) - config.shot - unlabeled
    recipe = "fast" if method_class.trains_on == "nothing" else config.recipe  # there is none to choose
    return replace(config, model=name, recipe=recipe, query=max(1, min(15, fitting)))
