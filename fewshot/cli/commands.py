"""The bodies of the smaller commands: turn choices into one call, print what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import SPLITS
from fewshot.cli.progress import TerminalReporter
from fewshot.cli.terminal import rich_table, terminal
from fewshot.models.hardware import keep_freed_memory
from fewshot.models.options import check_choice


def show_command(**choices: Any) -> None:
    """fewshot show."""
    from fewshot.reports.plots.episodes import draw_episodes

    split = check_choice("part", choices["part"], SPLITS)
    with TerminalReporter() as reporter:
        dataset = open_dataset(choices["dataset"], choices["data"], choices["class_split"], reporter=reporter)
        image_set = dataset.load(split, reporter.data_progress)
    spec = EpisodeSpec(*(choices[name] for name in ("way", "shot", "query", "unlabeled", "distractors")))
    episode = EpisodeSampler(image_set, spec, choices["seed"]).batch(choices["index"], choices["count"])
    path = choices["picture"] or Path(f"{dataset.name}-episode.png")
    shape = f"{spec.way}-way {spec.shot}-shot, {spec.num_query} queries a class"
    title = f"{dataset.protocol_name} {split}: {shape}, seed {choices['seed']}"
    click.echo(draw_episodes(image_set, episode, path, title))


def data_command(
    action: str,
    name: str,
    root: Path | None,
    file: Path | None = None,
    class_split: str | None = None,
    part: str = "test",
) -> None:
    """fewshot data."""
    check_choice("action", action, ("get", "check", "path", "export"))
    if action == "export":
        from fewshot.cli.embedding_commands import export_command

        export_command(name, file, root, class_split, part)
        return
    if file is not None:
        raise UserError(f"{str(file)!r} belongs to nothing: only `fewshot data export` takes a file")
    with TerminalReporter() as reporter:
        if action == "get":
            dataset = open_dataset(name, root, reporter=reporter)
            reporter.say(f"{name} is here: {dataset.location() or 'drawn by the program itself'}")
            return
        dataset = dataset_class(name)(root) if name in DATASETS and name != "folder" else open_dataset(name, root)
        problems = dataset.check(reporter.data_progress) if action == "check" else []
    if action == "path":
        click.echo(str(dataset.location() or ""))
        return
    for problem in problems:
        click.echo(problem)
    if problems:
        raise UserError(f"{name}: {len(problems)} problem(s) found; {dataset.how_to_get()}")
    click.echo(f"{name}: everything is in order")


def publish_command(records: tuple[Path, ...], results: Path, note: str, *, with_weights: bool) -> None:
    """fewshot publish."""
    from fewshot.experiments.publish import publish
    from fewshot.reports.results import readme_parts, write_results

    readme_parts(results.parent / "README.md")  # what could not be written is refused before anything is
    for path in (*publish(records, results, with_weights=with_weights, note=note), *write_results(results)):
        click.echo(f"written: {path}")


def damage_command(results: Path, picture: Path | None, out: Path) -> None:
    """fewshot damage."""
    from fewshot.records.record import read_records
    from fewshot.reports.pages.corruption import corruption_curves, corruption_tables, draw

    curves = corruption_curves(read_records([results / "runs", out / "records"]))
    if not curves:
        raise UserError("no training on corrupted images yet: `fewshot run --model proto --damage 0.75` makes one")
    for protocol, table in corruption_tables(curves).items():
        terminal().print(rich_table(table, protocol))
    if picture:
        from fewshot.reports.plots.style import save

        click.echo(f"\ndrawn: {save(draw(curves), picture)}")


def doctor_command(root: Path | None) -> None:
    """fewshot doctor."""
    from fewshot.cli.doctor import examine, render

    terminal().print(render(examine(root)))


def centers_command(
    dataset: str, weights: tuple[float, ...], classes: int, steps: int, picture: Path, data: Path | None
) -> None:
    """fewshot centers."""
    from fewshot.experiments.center_loss_demo import few_classes, train_plane
    from fewshot.reports.plots.center_loss import center_loss_figure
    from fewshot.reports.plots.style import save

    keep_freed_memory()
    with TerminalReporter() as reporter:
        image_set = open_dataset(dataset, data, None, reporter=reporter).load("train", reporter.data_progress)
        chosen = few_classes(image_set, classes)
        planes = [train_plane(chosen, weight, steps, reporter) for weight in weights]
    for plane in planes:
        click.echo(f"lambda {plane.weight:<8g} mean squared length of the embeddings {plane.spread:.3f}")
    click.echo(f"drawn: {save(center_loss_figure(planes, chosen), picture)}")
