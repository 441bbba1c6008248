"""The commands that read records: tables, publication. Parse, call one function, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fewshot.cli.options import SEED, data_option, json_option, out_option

results_option = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True,
    help="Folder of the published records (runs/), weights (weights/) and tables.",
)  # fmt: skip


@click.command(short_help="Print the tables made from the records; or train and rank every model.")
@results_option
@click.option("--write", is_flag=True, help="Write leaderboard.md, .csv, .html, .tex and the table of README.md.")
@click.option("--check", is_flag=True, help="Fail when these files are not what the records say.")
@click.option("--dataset", help="Train every model on this data set, under --out, and rank these runs alone.")
@click.option("--recipe", default="smoke", show_default=True, help="With --dataset: smoke, fast or paper.")
@click.option("--way", type=click.IntRange(2), default=5, show_default=True, help="With --dataset: classes.")
@click.option("--shot", type=click.IntRange(1), default=1, show_default=True, help="With --dataset: support images.")
@click.option("--episodes", type=click.IntRange(2), default=600, show_default=True, help="With --dataset: of the test.")
@data_option
@out_option
def leaderboard(**choices: Any) -> None:
    """Print the tables made from the records: the published ones and your own under --out.

    With --dataset: train and test every model there, and print how they rank. What is finished is not repeated.
    """
    from fewshot.cli.leaderboard_commands import leaderboard_command

    leaderboard_command(**choices)


@click.command(short_help="Copy records and their weights into results/.")
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@results_option
@click.option("--without-weights", is_flag=True, help="The record alone, where its weights are too large to commit.")
@click.option("--note", default="", help="A sentence for the notes of these records: what was tried, what is left.")
def publish(records: tuple[Path, ...], results: Path, without_weights: bool, note: str) -> None:
    """Publish RECORDS, the files that `fewshot run` wrote: record to results/runs, weights to results/weights.

    Smoke tests, records of uncommitted code, and records whose checkpoint is gone or is another are refused; then
    nothing is changed. The tables are written anew. What is left to do is to commit.
    """
    from fewshot.cli.commands import publish_command

    publish_command(records, results, note, with_weights=not without_weights)


@click.command(short_help="Accuracy against the share of damaged images.")
@results_option
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the curves into this file (.svg or .png).")
@out_option
def damage(results: Path, picture: Path | None, out: Path) -> None:
    """Print accuracy against the share of damaged test images, of all trainings with `run --damage` (Fort 2017).

    Train with `fewshot run --damage 0.75 --way 20 --shot 1`, once with `--model proto`, once with `--model
    gaussian-proto`; test each with `fewshot evaluate CHECKPOINT --way 20 --shot 5 --damage SHARE`.
    """
    from fewshot.cli.commands import damage_command

    damage_command(results, picture, out)


@click.command(short_help="Make the report: one HTML file with tables and pictures.")
@results_option
@out_option
@data_option
@click.option("--file", type=click.Path(path_type=Path), help="The page to write [default: OUT/report.html].")
@click.option(
    "--plots", type=click.Path(path_type=Path), help="Write each figure into this folder too, as SVG and PNG."
)
@click.option("--closeups", is_flag=True, help="Look at single episodes anew: needs weights and images.")
@click.option("--write", is_flag=True, help="Write results/report.html, of the published records alone.")
def report(**choices: Any) -> None:
    """Make the report, one HTML file that needs no network: the short answer, tables, pictures.

    It is made from the published records and your own under --out. With --write it is results/report.html, of the
    published records alone: the same records give the same file, byte for byte. Embeddings and the hardest episodes
    are drawn from closeups.json, which --closeups makes where weights and images are on this machine.
    """
    from fewshot.cli.report_commands import report_command

    report_command(**choices)


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


@click.command(short_help="Print a paper's table with our numbers in every cell.")
@click.argument("table", required=False)
@click.option("--run", "train", is_flag=True, help="Train what is missing; Ctrl-C loses nothing.")
@click.option("--recipe", default="fast", show_default=True, help="Of --run: fast or paper.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of --run: the training seed.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True,
              help="Of --run: trainings at a time, where one does not fill the GPU.")  # fmt: skip
@results_option
@data_option
@out_option
@json_option
def reproduce(**choices: Any) -> None:
    """Print TABLE, a paper's table, with our numbers in every cell; without TABLE, list the tables.

    Our numbers are the records in --results and in --out. What has none is listed with the command that makes it;
    --run trains all of it, goes on where it was stopped, and says how long it will take.
    """
    from fewshot.cli.reproduce_commands import reproduce_command

    reproduce_command(**choices)


@click.command(short_help="Measure a record again and say whether its number stands.")
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@results_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@data_option
def verify(records: tuple[Path, ...], results: Path, device: str, data: Path | None) -> None:
    """Test the weights of RECORDS on their episodes once more: same episodes, same images, same counts?

    The weights are where the record says, or in results/weights. Exit status 1 where a number does not stand.
    """
    from fewshot.cli.verify_commands import verify_command

    sys.exit(verify_command(records, results, device, data))


@click.command(short_help="Score Lake's 20 runs without learning: a check that they are read right.")
@click.option("--size", type=click.IntRange(1), default=105, show_default=True, help="Side of the images: 28 or 105.")
@data_option
@out_option
@json_option
def hausdorff(size: int, data: Path | None, out: Path, as_json: bool) -> None:
    """Score Lake's 20 published runs by the modified Hausdorff distance of the drawings.

    Nothing is learned. At 105x105 Lake et al. (2015) print 38.8 % errors: a check that drawings and answers are paired
    as published.
    """
    from fewshot.cli.hausdorff_commands import hausdorff_command

    hausdorff_command(size, data, out, as_json)


@click.command(short_help="What the weight of the center loss does, as a picture.")
@click.argument("weights", nargs=-1, type=click.FloatRange(0), metavar="[LAMBDA]...")
@click.option("--dataset", default="omniglot", show_default=True, help="Where the classes come from.")
@click.option("--classes", type=click.IntRange(2), default=10, show_default=True, help="How many of them.")
@click.option("--steps", type=click.IntRange(10), default=400, show_default=True, help="Training batches for each.")
@click.option("--picture", type=click.Path(path_type=Path), default=Path("centers.png"), show_default=True,
              help="The file to draw (.svg or .png).")  # fmt: skip
@data_option
def centers(weights: tuple[float, ...], **choices: Any) -> None:
    """Train embeddings of two numbers with cross-entropy and center loss, once for each LAMBDA, and draw them.

    Without any: 0, 0.01, 0.1 and 1. The larger, the nearer to its center lies each class.
    """
    from fewshot.cli.commands import centers_command

    centers_command(weights=weights or (0.0, 0.01, 0.1, 1.0), **choices)


COMMANDS = (leaderboard, publish, damage, centers, report, compare, reproduce, verify, hausdorff)
