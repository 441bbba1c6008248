"""fewshot compare."""

from __future__ import annotations

from pathlib import Path

import click

from fewshot.cli.options import results_option


@click.command(short_help="Compare records on the same episodes, pair by pair.")
@click.argument("words", nargs=-1, required=True, metavar="A B [C ...]")
@results_option
@click.option("--recipe", help="Of the models named, only records of this recipe: fast or paper.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the critical-difference plot (.png or .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON on standard output.")
def compare(words: tuple[str, ...], results: Path, recipe: str | None, picture: Path | None, as_json: bool) -> None:
    """Compare A, B, ...: paths of records, or names of models in results/runs.

    On every protocol that all were measured on, episode by episode: difference with its interval, win/tie/loss, effect
    size, Holm-corrected p, and the smallest difference that so many episodes would find. Over protocols: mean ranks.
    """
    from fewshot.cli.compare_commands import compare_command

    compare_command(words, results, recipe, picture, as_json)
