"""fewshot reproduce: a paper's table beside ours, on the terminal or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from episodes.errors import UserError
from fewshot.cli.options import (
    SEED,
    data_option,
    json_option,
    latex_option,
    out_option,
    refuse_unread,
    results_option,
    workers_options,
)

if TYPE_CHECKING:
    from fewshot.experiments.paper_plan import OurNumber, PaperCell
    from fewshot.records.paper_tables import PaperTable
    from fewshot.training.recipes import RecipeName


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
@latex_option
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
    read = ["results", "out", "as_json", *(["table", "train", "recipe", "as_latex"] if choices["table"] else [])]
    read += (
        ["seed", "data", "executor", "jobs", "address", "gpus_per_run", "partition", "time"]
        if choices["train"] and choices["table"]
        else []
    )
    refuse_unread("`reproduce` without " + ("--run" if choices["table"] else "TABLE"), *read)
    if choices["as_json"] and choices["as_latex"]:
        raise UserError("--json and --latex are forms of one table: choose one of them")
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
    elif choices["as_latex"]:
        from fewshot.reports.latex import latex, reproduction_sections

        click.echo(latex(reproduction_sections(table, cells)), nl=False)
    else:
        _print(table, cells, recipe)
    end(failures, len(missing))


def _train(missing: Sequence[PaperCell], recipe: RecipeName, choices: dict[str, Any]) -> list[str]:
    """Make what fills these cells, and test it; why some could not be."""
    from fewshot.cli.output import all_records
    from fewshot.cli.progress import carry_out
    from fewshot.experiments.sweep.jobs import Place
    from fewshot.experiments.sweep.plan import jobs_of_cells
    from fewshot.experiments.sweep.workers import Workers

    place = Place(choices["out"], choices["data"])
    jobs = jobs_of_cells(missing, recipe, choices["seed"])
    return carry_out(jobs, place, all_records(choices["results"], place.out), Workers.of(choices))[1]


def _filled(table: PaperTable, choices: dict[str, Any]) -> list[PaperCell]:
    from fewshot.cli.output import all_records
    from fewshot.experiments.paper_plan import fill

    return fill(table, all_records(choices["results"], choices["out"]))


def _list_tables(choices: dict[str, Any]) -> None:
    from fewshot.cli.output import all_records, print_json, print_listed
    from fewshot.experiments.paper_plan import fill
    from fewshot.records.paper_tables import paper_table, paper_table_names

    tables = [paper_table(name) for name in paper_table_names()]
    records = all_records(choices["results"], choices["out"])
    filled = [(table, fill(table, records)) for table in tables]
    if choices["as_json"]:
        print_json([_as_json(table, cells) for table, cells in filled])
        return
    listed = []
    for table, cells in filled:
        wanted = [cell for cell in cells if cell.row.ours is not None]
        here = sum(cell.ours is not None for cell in wanted)
        listed.append((table.name, [f"{here} of {len(wanted)} cells of ours", table.title, table.source]))
    print_listed(listed)
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
    """A table for each method of the paper, then how to read them, and what is missing."""
    from fewshot.cli.output import print_sections
    from fewshot.experiments.paper_plan import HOW
    from fewshot.reports.rendering import Section, table_of

    sections = [Section(table.title, text=table.source)]
    for name in dict.fromkeys(cell.row.name for cell in cells):
        rows = table_of(_words(cell) for cell in cells if cell.row.name == name)
        sections.append(Section(name, table=rows, numbers=frozenset(("published", "ours", "gap"))))
    differences = "\n".join(f"- {difference}" for difference in table.differences)
    print_sections([*sections, Section(text=HOW), Section("Differences of protocol", text=differences)])
    _print_missing(table, [cell for cell in cells if cell.is_missing], recipe)


def _words(cell: PaperCell) -> dict[str, str]:
    """A cell of the paper as a line of ours."""
    published = cell.published
    return {
        "test": cell.column.title,
        "verdict": _verdict(cell),
        "setup": "" if cell.ours is None else _setup(cell.ours),
        "status": "" if published is None else published.doubt or published.status,
        "published": "-" if published is None else published.printed,
        "ours": _ours(cell),
        "gap": "" if cell.gap is None else f"{cell.gap:+.2f}",
    }


def _print_missing(table: PaperTable, missing: Sequence[PaperCell], recipe: str) -> None:
    from fewshot.cli.output import print_labeled
    from fewshot.experiments.paper_plan import commands

    if not missing:
        return
    told = f"{len(missing)} cells of ours are missing; `fewshot reproduce {table.name} --run` makes them all:"
    print_labeled("", [told], 0)
    lines = [line for cell in missing for line in commands(cell, recipe)]
    for line in dict.fromkeys(lines):
        click.echo(f"  {line}")


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
