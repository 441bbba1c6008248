"""fewshot compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fewshot.cli.options import results_option

if TYPE_CHECKING:
    from fewshot.records.rows import Block


@click.command(short_help="Compare records on the same episodes, pair by pair.")
@click.argument("words", nargs=-1, required=True, metavar="A B [C ...]")
@results_option
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder of the records of the models named, such as runs/records [default: results/runs].",
)
@click.option(
    "--setting",
    type=click.Choice(["inductive", "transductive", "semi-supervised", "self-supervised", "external data"]),
    help="The setting that models are compared in [default: the first that all were measured in].",
)
@click.option("--recipe", help="Of the models named, only records of this recipe: fast or paper.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the critical-difference plot (.png or .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON on standard output.")
def compare(
    words: tuple[str, ...],
    results: Path,
    folder: Path | None,
    setting: Block | None,
    recipe: str | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compare A, B, ...: paths of records, or models (MODEL by its own rule, or MODEL+READOUT).

    Paths of one configuration are its seeds. Models are compared within one setting; of several configurations of a
    model the best on the validation classes is taken, never by the test.

    On every protocol that all were measured on, episode by episode: difference with its interval, win/tie/loss, effect
    size, Holm-corrected p, and the smallest difference that so many episodes would find. Over protocols: mean ranks.
    """
    from fewshot.cli.compare_commands import compare_command
    from fewshot.cli.output import published_runs

    compare_command(words, folder or published_runs(results), recipe, setting, picture, as_json)
