"""fewshot reproduce: a paper's table beside ours, on the terminal or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewshot.cli.options import (
    SEED,
    data_option,
    json_option,
    out_option,
    refuse_unread,
    results_option,
    workers_options,
)

if TYPE_CHECKING:
    from fewshot.experiments.paper_plan import OurNumber, PaperCell
    from fewshot.records.paper_tables import PaperTable
    from fewshot.records.published import Published
    from fewshot.training.recipes import RecipeName

_STYLES = {"matches": "green", "above": "green", "below": "red"}


@click.command(short_help="Print a paper's table with our numbers in every cell.")
@click.argument("table", required=False)
@click.option("--run", "train", is_flag=True, help="Train what is missing; Ctrl-C loses nothing.")
@click.option("--recipe", default="fast", show_default=True, help="Of --run: fast or paper.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of --run: the training seed.")
@workers_options
@results_option
@data_option
@out_option
@json_option
def reproduce(**choices: Any) -> None:
    """Print TABLE, a paper's table, with our numbers in every cell; without TABLE, list the tables.

    Our numbers are the records in --results and in --out. What has none is listed with the command that makes it;
    --run trains all of it, goes on where it was stopped, and says how long it will take.
    """
    from fewshot.cli.output import print_json
    from fewshot.cli.progress import end
    from fewshot.models.options import check_choice
    from fewshot.records.paper_tables import paper_table

    trained: tuple[RecipeName, ...] = ("fast", "paper")
    recipe = check_choice("recipe", choices["recipe"], trained)
    read = ["results", "out", "as_json", *(["table", "train", "recipe"] if choices["table"] else [])]
    read += (
        ["seed", "data", "executor", "jobs", "address", "gpus_per_run", "partition", "time"]
        if choices["train"] and choices["table"]
        else []
    )
    refuse_unread("`reproduce` without " + ("--run" if choices["table"] else "TABLE"), *read)
    if choices["table"] is None:
        _list_tables(choices)
        return
    table = paper_table(choices["table"])
    cells = _filled(table, choices)
    missing = [cell for cell in cells if cell.is_missing]
    failures = _train(missing, recipe, choices) if choices["train"] and missing else []
    if choices["train"]:
        cells = _filled(table, choices)
    if choices["as_json"]:
        print_json(_as_json(table, cells))
    else:
        _print(table, cells, recipe)
    end(failures, len(missing))


def _train(missing: Sequence[PaperCell], recipe: RecipeName, choices: dict[str, Any]) -> list[str]:
    """Make what fills these cells, and test it; why some could not be."""
    from fewshot.cli.output import readable_records
    from fewshot.cli.progress import carry_out
    from fewshot.experiments.sweep.jobs import Place
    from fewshot.experiments.sweep.plan import jobs_of_cells
    from fewshot.experiments.sweep.workers import Workers

    place = Place(choices["out"], choices["data"])
    jobs = jobs_of_cells(missing, recipe, choices["seed"])
    return carry_out(jobs, place, readable_records(*_folders(choices)), Workers.of(choices))[1]


def _filled(table: PaperTable, choices: dict[str, Any]) -> list[PaperCell]:
    from fewshot.cli.output import readable_records
    from fewshot.experiments.paper_plan import fill

    return fill(table, readable_records(*_folders(choices)))


def _folders(choices: dict[str, Any]) -> tuple[Path, Path]:
    from fewshot.cli.output import published_runs

    return published_runs(choices["results"]), choices["out"] / "records"


def _list_tables(choices: dict[str, Any]) -> None:
    from rich.table import Table

    from fewshot.cli.output import print_json, readable_records, terminal
    from fewshot.experiments.paper_plan import fill
    from fewshot.records.paper_tables import paper_table, paper_table_names

    tables = [paper_table(name) for name in paper_table_names()]
    records = readable_records(*_folders(choices))
    filled = [(table, fill(table, records)) for table in tables]
    if choices["as_json"]:
        print_json([_as_json(table, cells) for table, cells in filled])
        return
    shown = Table(box=None, pad_edge=False)
    for column in ("name", "table", "cells of ours"):
        shown.add_column(column)
    for table, cells in filled:
        wanted = [cell for cell in cells if cell.row.ours is not None]
        here = sum(cell.ours is not None for cell in wanted)
        shown.add_row(table.name, f"{table.title} ({table.source})", f"{here} of {len(wanted)}")
    terminal().print(shown, markup=False)
    click.echo("\nfewshot reproduce NAME prints one; --run trains what it lacks")


def _as_json(table: PaperTable, cells: Sequence[PaperCell]) -> dict[str, Any]:
    from fewshot.experiments.paper_plan import HOW

    return {
        "name": table.name,
        "title": table.title,
        "source": table.source,
        "differences": list(table.differences),
        "how": HOW,
        "cells": [cell.as_dict() for cell in cells],
    }


def _print(table: PaperTable, cells: Sequence[PaperCell], recipe: str) -> None:
    from rich.table import Table

    from fewshot.cli.output import terminal
    from fewshot.experiments.paper_plan import HOW

    console = terminal()
    console.print(f"{table.title}\n{table.source}\n", soft_wrap=True)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("method")
    shown.add_column("test", no_wrap=True)
    for column in ("published", "ours", "gap"):
        shown.add_column(column, justify="right", no_wrap=True)
    for column in ("verdict", "ours: recipe, interval over", "published number"):
        shown.add_column(column)
    name = ""
    for cell in cells:
        shown.add_row(
            cell.row.name if cell.row.name != name else "",
            cell.column.title,
            _published(cell.published),
            _ours(cell),
            "" if cell.gap is None else f"{cell.gap:+.2f}",
            _verdict(cell),
            "" if cell.ours is None else _setup(cell.ours),
            _status(cell.published),
            style=_STYLES.get(cell.verdict or "", ""),
        )
        name = cell.row.name
    console.print(shown)
    console.print(f"\n{HOW}\n\nDifferences of protocol:", soft_wrap=True)
    for difference in table.differences:
        console.print(f"- {difference}", soft_wrap=True)
    _print_missing(table, [cell for cell in cells if cell.is_missing], recipe)


def _print_missing(table: PaperTable, missing: Sequence[PaperCell], recipe: str) -> None:
    from fewshot.experiments.paper_plan import commands

    if not missing:
        return
    click.echo(f"\n{len(missing)} cells of ours are missing; `fewshot reproduce {table.name} --run` makes them all:")
    lines = [line for cell in missing for line in commands(cell, recipe)]
    for line in dict.fromkeys(lines):
        click.echo(f"  {line}")


def _published(published: Published | None) -> str:
    return "-" if published is None else published.printed


def _ours(cell: PaperCell) -> str:
    if cell.row.ours is None:
        return "no model here"
    return "missing" if cell.ours is None else f"{cell.ours.accuracy:.2f} ± {cell.ours.ci95:.2f}"


def _verdict(cell: PaperCell) -> str:
    if cell.verdict is None:
        return ""
    if cell.verdict == "matches":
        return "matches"
    side = "within" if cell.within_tolerance else "outside"
    return f"{cell.verdict}, {side} ±{cell.column.tolerance:g}"


def _setup(ours: OurNumber) -> str:
    record = ours.records[0]
    way = record.trained.recipe.train_way
    training = f"{record.recipe}, {way}-way" if way else record.recipe
    shot = record.trained.recipe.train_shot
    if shot not in (None, record.test.shot):
        training += f", trained at {shot} shot"
    return f"{training if record.trained.checkpoint else 'nothing learned'}; {ours.covers}"


def _status(published: Published | None) -> str:
    if published is None:
        return ""
    return published.doubt or published.status
