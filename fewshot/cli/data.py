"""fewshot data, show, list: what can be chosen, and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.cli.options import PATH, SEED, data_option, refuse_unread

_MOST_LINES = 19  # of `data check`, besides the last one


@click.command(short_help="Fetch a data set, check it, say where it lies, or export its images.")
@click.argument("action", metavar="[get|check|path|export]")
@click.argument("dataset")
@click.argument("file", required=False, type=PATH)
@click.option("--split", "class_split", help="With export: which classes are train, val and test.")
@click.option("--part", default="test", show_default=True, help="With export: train, val or test.")
@click.option("--size", type=click.IntRange(1, 4096), help="With export: the side of the images in pixels.")
@data_option
def data(action: str, dataset: str, data: Path | None, file: Path | None, **choices: Any) -> None:
    """Fetch a data set (get), read it through and report what is wrong (check), say where it lies (path), or write
    the images of a part into FILE (export), a NumPy archive: to embed them with a model of your own."""
    from fewshot.models.options import check_choice

    actions = {"get": _get, "check": _check, "path": _path}
    check_choice("action", action, (*actions, "export"))
    if action == "export":
        _export(dataset, data, file, **choices)
        return
    refuse_unread(f"`data {action}`, only for `data export`", "action", "dataset", "data")
    actions[action](dataset, data)


def _get(name: str, root: Path | None) -> None:
    from fewshot.cli.progress import TerminalReporter

    dataset = _as_it_is(name, root)
    with TerminalReporter() as reporter:
        if not dataset.is_present():
            dataset.download(reporter.data_progress)
        reporter.say(f"{name} is here: {dataset.location() or 'drawn by the program itself'}")


def _path(name: str, root: Path | None) -> None:
    click.echo(str(_as_it_is(name, root).location() or ""))


def _check(name: str, root: Path | None) -> None:
    from fewshot.cli.progress import TerminalReporter

    dataset = _as_it_is(name, root)
    with TerminalReporter() as reporter:
        problems = dataset.check(reporter.data_progress)
    for problem in problems[:_MOST_LINES]:
        click.echo(problem)
    if problems:
        listed = _list_problems(problems, dataset)
        raise UserError(f"{name}: {len(problems)} kind(s) of problems found{listed}; {dataset.how_to_get()}")
    click.echo("\n".join([f"{name}: everything is in order", *dataset.summary()]))


def _list_problems(problems: Sequence[str], dataset: Any) -> str:
    """Write every name into a file, where not all of them were shown; what is said of it."""
    if len(problems) <= _MOST_LINES and all(
        str(name) in line for line in problems for name in getattr(line, "names", ())
    ):
        return ""
    lines = [
        line for problem in problems for line in (getattr(problem, "what", problem), *getattr(problem, "names", ()), "")
    ]
    path = Path(f"{dataset.protocol_name}-problems.txt")
    write_atomically(path, "\n".join(lines).encode(errors="surrogateescape"))
    return f", all named in {path}"


def _as_it_is(name: str, root: Path | None) -> Any:
    """The data set, whether its files are here or not: nothing is downloaded."""
    from episodes.datasets.base import dataset_class
    from episodes.datasets.cards import DATASETS
    from episodes.datasets.opening import open_dataset

    return dataset_class(name)(root) if name in DATASETS and name != "folder" else open_dataset(name, root)


def _export(
    name: str, root: Path | None, path: Path | None, class_split: str | None, part: str, size: int | None
) -> None:
    from episodes.datasets.opening import open_dataset
    from episodes.images.export import export_images
    from episodes.types import SPLITS
    from fewshot.cli.progress import TerminalReporter
    from fewshot.models.options import check_choice

    split = check_choice("part", part, SPLITS)
    with TerminalReporter() as reporter:
        dataset = open_dataset(name, root, class_split, reporter=reporter, size=size)
        image_set = dataset.load(split, reporter.data_progress)
        path = path or Path(f"{dataset.protocol_name}-{split}.npz")
        export_images(image_set, dataset.protocol_name, path, dataset.files(split))
    images, classes = len(image_set.images), image_set.num_classes
    click.echo(f"{path}: {images:,} images of {classes:,} classes, {dataset.protocol_name} {split}")


@click.command(short_help="Draw episodes of a data set into a PNG.")
@click.argument("dataset")
@click.option("--split", "class_split", help="Which classes are train, val and test.")
@click.option("--part", default="test", show_default=True, help="train, val or test.")
@click.option("--way", type=click.IntRange(1), default=5, show_default=True, help="Classes of an episode.")
@click.option("--shot", type=click.IntRange(1), default=1, show_default=True, help="Support images per class.")
@click.option("--query", type=click.IntRange(1), default=5, show_default=True, help="Queries per class.")
@click.option("--unlabeled", type=click.IntRange(0), default=0, show_default=True, help="Unlabeled images per class.")
@click.option(
    "--distractors", type=click.IntRange(0), default=0, show_default=True, help="Classes that are in no label."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Which episodes.")
@click.option("--index", type=click.IntRange(0), default=0, show_default=True, help="Number of the (first) episode.")
@click.option("--count", type=click.IntRange(1, 8), default=1, show_default=True, help="Episodes to draw.")
@click.option("--picture", type=PATH, help="The PNG to write [default: DATASET-episode.png].")
@data_option
def show(**choices: Any) -> None:
    """Draw episodes of DATASET into a PNG: support, query and unlabeled images side by side."""
    from episodes.datasets.opening import open_dataset
    from episodes.sampler import EpisodeSampler
    from episodes.spec import EpisodeSpec
    from episodes.types import SPLITS
    from fewshot.cli.progress import TerminalReporter
    from fewshot.models.options import check_choice
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


@click.command("list")
@click.argument("what", metavar="[models|datasets|protocols|encoders|readouts]")
def list_(what: str) -> None:
    """List what can be chosen."""
    from fewshot.cli.output import bold, print_listed
    from fewshot.models import catalog
    from fewshot.models.options import check_choice

    check_choice("list", what, ("models", "datasets", "protocols", "encoders", "readouts"))
    if what == "models":
        models = catalog.models()  # once: it reads the source of each
        indent = max(len(model.name) for model in models) + 2
        for number, (kind, heading) in enumerate(catalog.KINDS.items()):
            click.echo("\n" * (number > 0) + bold(heading))
            print_listed(((m.name, [m.title, *m.options]) for m in models if m.kind == kind), indent)
        return
    entries = {
        "encoders": lambda: [(found.name, [found.title, *found.options]) for found in catalog.encoders()],
        "readouts": lambda: [(found.name, [found.title, found.source]) for found in catalog.readouts()],
    }
    print_listed(({"datasets": _datasets, "protocols": _protocols} | entries)[what]())


def _protocols() -> list[tuple[str, list[str]]]:
    from fewshot.experiments.config import TEST_EPISODES
    from fewshot.records.protocols import standard_protocols
    from fewshot.records.published import published_target

    found = []
    for protocol in standard_protocols():
        target = published_target("proto", protocol.dataset_id, protocol.way, protocol.shot)
        published = f"; published: proto {target}" if target else ""
        found.append((str(protocol), [f"{TEST_EPISODES:,} episodes{published}"]))
    return found


def _datasets() -> list[tuple[str, list[str]]]:
    from episodes.datasets.cards import DATASETS
    from episodes.files import data_root

    found = []
    for name in DATASETS:
        card = DATASETS.get(name)
        here = "" if name == "folder" else (" (here)" if card.is_present(data_root()) else " (not here)")
        splits = f"splits: {', '.join(card.class_splits)}" if card.class_splits else ""
        found.append((name, [f"{card.title}{here}", splits]))
    return found
