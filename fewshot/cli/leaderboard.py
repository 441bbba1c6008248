"""fewshot leaderboard, publish, verify: the tables of the records, and what stands in them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from episodes.errors import UserError
from fewshot.cli.options import PATH, data_option, latex_option, out_option, refuse_unread, results_option

if TYPE_CHECKING:
    from episodes.datasets.base import Dataset
    from fewshot.experiments.config import RunConfig
    from fewshot.records.record import RunRecord

EPISODES_IN_HALF = 1000


@click.command(short_help="Print the tables made from the records; or train and rank every model.")
@results_option
@click.option("--write", is_flag=True, help="Write every generated file of results/ and the table of README.md.")
@click.option("--check", is_flag=True, help="Fail when these files are not what the records say.")
@click.option("--dataset", help="Train every model on this data set, under --out, and rank these runs alone.")
@click.option("--recipe", default="smoke", show_default=True, help="With --dataset: smoke, fast or paper.")
@click.option("--way", type=click.IntRange(2), default=5, show_default=True, help="With --dataset: classes.")
@click.option("--shot", type=click.IntRange(1), default=1, show_default=True, help="With --dataset: support images.")
@click.option("--episodes", type=click.IntRange(2), default=600, show_default=True, help="With --dataset: of the test.")
@click.option("--json", "as_json", is_flag=True, help="Print every column of every row as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as CSV: what --write puts into leaderboard.csv.")
@latex_option
@data_option
@out_option
def leaderboard(**choices: Any) -> None:
    """Print the tables made from the records: the published ones and your own under --out.

    With --dataset: train and test every model there, and print how they rank. What is finished is not repeated.
    """
    forms = ("as_json", "as_csv", "as_latex")
    if choices["dataset"] is not None:
        training = ("dataset", "recipe", "way", "shot", "episodes", "data", "out")
        refuse_unread("`leaderboard --dataset`, which ranks runs of its own", *training, *forms)
    elif choices["write"]:
        refuse_unread("`leaderboard --write`, which makes the files of --results", "write", "results")
    elif choices["check"]:
        refuse_unread("`leaderboard --check`, which looks at the files of --results", "check", "results")
    else:
        refuse_unread("`leaderboard` without --dataset", "results", "out", *forms)
    chosen = [form.removeprefix("as_") for form in forms if choices[form]]
    if len(chosen) > 1:
        raise UserError(f"--{' and --'.join(chosen)} are forms of one table: choose one of them")
    from fewshot.cli.output import all_records, print_leaderboard

    choices["form"] = chosen[0] if chosen else None
    if choices["dataset"] is not None:
        _rank_all(choices)
    elif choices["write"] or choices["check"]:
        _generated_files(choices["results"], write=choices["write"])
    else:
        print_leaderboard(all_records(choices["results"], choices["out"]), choices["form"])


def _generated_files(results: Path, *, write: bool) -> None:
    from fewshot.reports.results import check_results, write_results

    if write:
        for path in write_results(results):
            click.echo(f"written: {path}")
    else:
        check_results(results)
        click.echo("README.md and the pages of results say what the records say")


def _rank_all(choices: dict[str, Any]) -> None:
    """Train and test every method, and rank what came of it.

    A method that does not fit these images or has no such recipe is named with the reason and left out. Raises
    UserError where that is so for all.
    """
    from episodes.datasets.opening import open_dataset
    from fewshot.cli.output import print_leaderboard, readable_records
    from fewshot.cli.progress import carry_out
    from fewshot.experiments.config import RunConfig
    from fewshot.experiments.sweep.jobs import Job, Place
    from fewshot.models.methods import METHODS
    from fewshot.models.options import check_choice
    from fewshot.training.recipes import RECIPES

    recipe = check_choice("recipe", choices["recipe"], RECIPES)
    dataset = open_dataset(choices["dataset"], choices["data"])
    config = RunConfig(recipe=recipe, **{name: choices[name] for name in ("dataset", "way", "shot", "episodes")})
    jobs = [Job(name, _run_of(name, dataset, config)) for name in METHODS]
    records, failures = carry_out(
        jobs, Place(choices["out"], choices["data"]), readable_records(choices["out"] / "records")
    )
    if not records:
        raise UserError(f"no model could be run on {dataset.name}: {failures[0]}")
    print_leaderboard(records, choices["form"], smoke=recipe == "smoke")


def _run_of(name: str, dataset: Dataset, config: RunConfig) -> RunConfig:
    """The run of one model. A class of strokes has 20 images: 14 queries are left beside 5 unlabeled ones."""
    from fewshot.experiments.resolve import DEFAULT_UNLABELED
    from fewshot.models.methods import METHODS

    method_class = METHODS.get(name)
    unlabeled = DEFAULT_UNLABELED if method_class.uses_unlabeled else 0
    fitting = int(dataset.load("test").class_sizes.min()) - config.shot - unlabeled
    recipe = "fast" if method_class.trains_on == "nothing" else config.recipe  # there is none to choose
    return replace(config, model=name, recipe=recipe, query=max(1, min(15, fitting)))


@click.command(short_help="Copy records and their weights into results/.")
@click.argument("records", nargs=-1, required=True, type=PATH)
@results_option
@click.option("--without-weights", is_flag=True, help="The record alone, where its weights are too large to commit.")
@click.option(
    "--half-weights",
    is_flag=True,
    help="Weights in half precision: 1,000 episodes of each record are tested with them, and its number must stand.",
)
@click.option("--note", default="", help="A sentence for the notes of these records: what was tried, what is left.")
@data_option
def publish(
    records: tuple[Path, ...], results: Path, without_weights: bool, half_weights: bool, note: str, data: Path | None
) -> None:
    """Publish RECORDS, the files that `fewshot run` wrote: record to results/runs, weights to results/weights.

    Smoke tests, records of uncommitted code, and records whose checkpoint is gone or is another are refused; then
    nothing is changed. With --half-weights give all records of a training, those that are published too. The tables are
    written anew. What is left to do is to commit.
    """
    from fewshot.experiments.publish import publish
    from fewshot.reports.pages.base import bytes_of
    from fewshot.reports.results import files_of

    def tables(coming: Mapping[Path, RunRecord]) -> Mapping[Path, bytes]:
        return bytes_of(files_of(results, coming))

    if half_weights:
        refuse_unread("`publish --half-weights`", "records", "results", "half_weights", "note", "data")
    else:
        refuse_unread("`publish` of what is not tested once more", "records", "results", "without_weights", "note")
    with tempfile.TemporaryDirectory() as scratch:
        stands = partial(_stands_in_half, results=results, root=data, scratch=Path(scratch))
        half = stands if half_weights else None
        for path in publish(records, results, tables, with_weights=not without_weights, note=note, half=half):
            click.echo(f"written: {path}")


def _stands_in_half(path: Path, weights: Path, *, results: Path, root: Path | None, scratch: Path) -> str:
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.verify import verify

    with TerminalReporter() as reporter:
        found = verify(path, results, reporter, root=root, episodes=EPISODES_IN_HALF, weights=weights, scratch=scratch)
    if not found.stands:
        return found.moved_words()
    click.echo(f"{path.name} stands: {found.moved_words()}")
    return ""


@click.command(short_help="Measure a record again and say whether its number stands.")
@click.argument("records", nargs=-1, required=True, type=PATH)
@results_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="bf16, fp32, or auto: that of the record, but fp32 where bf16 would be emulated.",
)
@click.option(
    "--episodes",
    type=click.IntRange(1),
    help="Measure so many, the first ones.  [default: all; 50 where bf16 would be emulated]",
)
@data_option
def verify(records: tuple[Path, ...], results: Path, data: Path | None, **where: Any) -> None:
    """Test the weights of RECORDS on their episodes once more: same episodes, same images, same counts?

    The weights are beside the record, where it says, or in results/weights. What may move and what moved is printed.
    Exit status 1 where a number does not stand.
    """
    from fewshot.models.hardware import PRECISIONS, check_device, keep_freed_memory
    from fewshot.models.options import check_choice

    check_device(where["device"])
    check_choice("precision", where["precision"], PRECISIONS)
    keep_freed_memory()
    fallen = [path for path in records if not _stands(path, results, where, data, alone=len(records) == 1)]
    if len(records) > 1:
        click.echo(f"{len(records) - len(fallen)} of {len(records)} numbers stand")
    sys.exit(1 if fallen else 0)


def _stands(path: Path, results: Path, where: dict[str, Any], root: Path | None, *, alone: bool) -> bool:
    """Whether the number of a record stands, and why, printed. Of several, one that cannot be verified is named."""
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.verify import verify
    from fewshot.models.tensor_files import carries_digest
    from fewshot.records.record import record_carries_digest

    try:
        with TerminalReporter() as reporter:
            found = verify(path, results, reporter, root=root, **where)
    except UserError as error:
        if alone:
            raise
        click.echo(f"record    {path}\nverdict   cannot be verified: {error}")
        return False
    files = {path: record_carries_digest(path)} | {file: carries_digest(file) for file in [found.weights]}
    older = [
        f"digest    {file} is older than digests: read unchecked" for file, carries in files.items() if not carries
    ]
    click.echo("\n".join([f"record    {path}", *older, *found.lines()]))
    return found.stands
