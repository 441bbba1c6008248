"""The bodies of the smaller commands: turn choices into one call, print what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from episodes.datasets import DATASETS
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.types import SPLITS, EpisodeSpec
from fewshot.encoders import ENCODERS
from fewshot.hardware import keep_freed_memory
from fewshot.methods import METHODS
from fewshot.options import check_choice, options_of
from fewshot.papers import published_target
from fewshot.readouts import READOUTS
from fewshot.reporting import TerminalReporter
from fewshot.sources import open_dataset


def terminal() -> Console:
    """Standard output; wide where it is no terminal, so that a pipe gets whole lines."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def list_command(what: str) -> None:
    """fewshot list."""
    check_choice("list", what, ("models", "datasets", "protocols", "encoders", "readouts"))
    table = Table(box=None, pad_edge=False)
    if what == "protocols":
        from fewshot.protocols import standard_protocols

        for column in ("protocol", "episodes", "published"):
            table.add_column(column, no_wrap=column == "protocol")
        for protocol in standard_protocols():
            target = published_target("proto", protocol.pixels, protocol.spec.way, protocol.spec.shot)
            table.add_row(protocol.name, f"{protocol.num_episodes:,}", f"proto {target}" if target else "")
    elif what == "datasets":
        for column in ("name", "splits", "what", "here"):
            table.add_column(column)
        for name in DATASETS:
            entry = DATASETS.get(name)
            here = "" if name == "folder" else ("yes" if entry().is_present() else "no")
            table.add_row(name, ", ".join(entry.class_splits), entry.title, here)
    elif what == "readouts":
        for column in ("name", "what", "source"):
            table.add_column(column, no_wrap=column == "name")
        for name in READOUTS:
            table.add_row(name, READOUTS.get(name).title, READOUTS.get(name).source)
    else:
        for column in ("name", "what", "options"):
            table.add_column(column)
        for name in METHODS if what == "models" else ENCODERS:
            chosen = METHODS.get(name) if what == "models" else ENCODERS.get(name)
            missing = METHODS.get(name).unavailable() if what == "models" else ""
            title = f"{chosen.title}\nunavailable: {missing}" if missing else chosen.title
            table.add_row(name, title, "\n".join(map(str, options_of(chosen).values())))
    terminal().print(table)


def show_command(**choices: Any) -> None:
    """fewshot show."""
    from fewshot.pictures import draw_episodes

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
        from fewshot.embedding_commands import export_command

        export_command(name, file, root, class_split, part)
        return
    if file is not None:
        raise UserError(f"{str(file)!r} belongs to nothing: only `fewshot data export` takes a file")
    with TerminalReporter() as reporter:
        if action == "get":
            dataset = open_dataset(name, root, reporter=reporter)
            reporter.say(f"{name} is here: {dataset.location() or 'drawn by the program itself'}")
            return
        dataset = DATASETS.get(name)(root) if name in DATASETS and name != "folder" else open_dataset(name, root)
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
    from fewshot.publishing import publish

    for path in publish(records, results, with_weights=with_weights, note=note):
        click.echo(f"written: {path}")


def damage_command(results: Path, picture: Path | None, out: Path) -> None:
    """fewshot damage."""
    from fewshot.damage_curve import damage_curves, damage_table, plot_damage
    from fewshot.records import read_records

    curves = damage_curves(read_records([results / "runs", out / "records"]))
    if not curves:
        raise UserError("no training on damaged images yet: `fewshot run --model proto --damage 0.75` makes one")
    click.echo(damage_table(curves))
    if picture:
        click.echo(f"\ndrawn: {plot_damage(curves, picture)}")


def doctor_command(root: Path | None) -> None:
    """fewshot doctor."""
    from fewshot.doctor import examine, render

    terminal().print(render(examine(root)))


def centers_command(
    dataset: str, weights: tuple[float, ...], classes: int, steps: int, picture: Path, data: Path | None
) -> None:
    """fewshot centers."""
    from fewshot.center_picture import few_classes, plot_planes, train_plane

    keep_freed_memory()
    with TerminalReporter() as reporter:
        image_set = open_dataset(dataset, data, None, reporter=reporter).load("train", reporter.data_progress)
        chosen = few_classes(image_set, classes)
        planes = [train_plane(chosen, weight, steps, reporter) for weight in weights]
    for plane in planes:
        click.echo(f"lambda {plane.weight:<8g} mean squared length of the embeddings {plane.spread:.3f}")
    click.echo(f"drawn: {plot_planes(planes, chosen, picture)}")
