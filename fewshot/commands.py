"""The bodies of the commands: turn choices into one call, print what came of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from episodes.datasets import DATASETS
from episodes.errors import UserError
from episodes.registry import unknown_name_message
from episodes.sampler import EpisodeSampler
from episodes.types import SPLITS, EpisodeSpec
from fewshot.building import read_metadata
from fewshot.cli import cli, parse_model_options, print_json
from fewshot.configuration import RunConfig
from fewshot.encoders import ENCODERS
from fewshot.experiment import evaluate_checkpoint, run
from fewshot.hardware import DEVICES, PRECISIONS, keep_freed_memory
from fewshot.methods import METHODS
from fewshot.options import checked_options, options_of
from fewshot.papers import published_target
from fewshot.recipes import RECIPES, find_recipe
from fewshot.records import RunRecord
from fewshot.reporting import TerminalReporter
from fewshot.sources import open_dataset

Choice = TypeVar("Choice", bound=str)


_RECIPE_OVERRIDES = (
    *("train_way", "train_shot", "train_query", "train_episodes", "learning_rate"),
    *("labeled_share", "unlabeled", "distractors"),
)


def _terminal() -> Console:
    """Standard output; wide where it is no terminal, so that a pipe gets whole lines."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def check_choice(what: str, value: str, valid: tuple[Choice, ...]) -> Choice:
    """``value`` where it is valid; else a UserError that names the near one and all valid ones."""
    for choice in valid:
        if choice == value:
            return choice
    raise UserError(unknown_name_message(what, value, valid))


def run_command(**choices: Any) -> None:
    """fewshot run."""
    model = METHODS.get(choices["model"])  # every word is checked before any data are looked for
    encoder = choices["encoder"] or model.default_encoder
    recipe_name = check_choice("recipe", choices["recipe"], RECIPES)
    _check_hardware_words(choices)
    model_options, encoder_options = _own_options(choices["model_options"], choices["model"], encoder)
    keep_freed_memory()
    with TerminalReporter() as reporter:
        dataset = open_dataset(choices["dataset"], choices["data"], choices["class_split"], reporter=reporter)
        recipe = find_recipe(recipe_name, dataset.name, choices["shot"], choices["model"], choices["way"])
        overrides = {name: choices[name] for name in _RECIPE_OVERRIDES}
        changed = {name: value for name, value in overrides.items() if value is not None}
        config = RunConfig(
            recipe=replace(recipe, **changed),
            model_options=model_options,
            encoder_options=encoder_options,
            shortened=(choices["train_episodes"] or recipe.train_episodes) < recipe.train_episodes,
            encoder=encoder,
            **{name: choices[name] for name in ("model", "way", "shot", "query", "episodes")},
            **{name: choices[name] for name in ("episode_seed", "seed", "device", "precision")},
        )
        if choices["tensorboard"] is not None:
            from fewshot.curves import tensorboard_observer

            reporter.observers.append(tensorboard_observer(choices["tensorboard"]))
        record, path = run(config, dataset, choices["out"], reporter, fresh=choices["fresh"])
        _draw_training(record)
    _print_outcome(record, path, choices["as_json"])


def _draw_training(record: RunRecord) -> None:
    """The course of the training as a picture beside its checkpoint; drawn once, since it does not change."""
    picture = Path(record.config["checkpoint"]).with_name("training.png")
    if not picture.exists():
        from fewshot.pictures import plot_history

        plot_history(
            record.training["history"], picture, f"{record.model} on {record.config['pixels']}, seed {record.seed}"
        )


def evaluate_command(**choices: Any) -> None:
    """fewshot evaluate."""
    _check_hardware_words(choices)
    keep_freed_memory()
    metadata = read_metadata(choices["checkpoint"])
    with TerminalReporter() as reporter:
        same_data = choices["dataset"] in (None, metadata["dataset"])
        dataset = open_dataset(
            choices["dataset"] or metadata["dataset"],
            choices["data"],
            choices["class_split"] or (metadata["class_split"] if same_data else None),
            reporter=reporter,
            image_shape=tuple(metadata["image_shape"]),
        )
        recipe = metadata["recipe"]
        spec = EpisodeSpec(
            choices["way"] or 5,
            choices["shot"] or recipe["train_shot"],
            choices["query"],
            recipe.get("unlabeled", 0),
            recipe.get("distractors", 0),
        )
        record, path = evaluate_checkpoint(
            choices["checkpoint"],
            dataset,
            spec,
            choices["episodes"],
            choices["episode_seed"],
            choices["out"],
            reporter,
            device=choices["device"],
            precision=choices["precision"],
        )
    _print_outcome(record, path, choices["as_json"])


def _check_hardware_words(choices: Mapping[str, Any]) -> None:
    check_choice("device", choices["device"], DEVICES)
    check_choice("precision", choices["precision"], PRECISIONS)


def _own_options(words: tuple[str, ...], model: str, encoder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What only the encoder's constructor knows goes there; all other options are the model's to accept or refuse."""
    of_run = {flag for parameter in cli.commands["run"].params for flag in parameter.opts if flag.startswith("--")}
    method_class, encoder_class = METHODS.get(model), ENCODERS.get(encoder)
    known = options_of(encoder_class) | options_of(method_class)
    chosen = parse_model_options(words, of_run, {option.flag for option in known.values()})
    only_encoder = options_of(encoder_class).keys() - options_of(method_class).keys()
    of_model = {name: value for name, value in chosen.items() if name not in only_encoder}
    of_encoder = {name: value for name, value in chosen.items() if name in only_encoder}
    return (
        checked_options(method_class, of_model, f"model {model}"),
        checked_options(encoder_class, of_encoder, f"encoder {encoder}"),
    )


def _print_outcome(record: RunRecord, path: Path, as_json: bool) -> None:
    if as_json:
        print_json(asdict(record))
        return
    target = published_target(record.model, *record.pixels_way_shot, distractors=record.has_distractors)
    smoke = "  SMOKE TEST, not a result" if record.recipe == "smoke" else ""
    short = "  SHORTENED training" if record.shortened else ""
    lines = [
        ("model", f"{record.model}, {record.recipe} recipe, seed {record.seed}{smoke}{short}"),
        ("protocol", record.protocol),
        ("accuracy", f"{click.style(record.percent(), bold=True)}  over {record.num_episodes:,} episodes"),
        ("published", str(target) if target else "no paper gives a number for this protocol"),
        ("interval", record.ci_formula),
        *(("note", note) for note in record.notes),
        ("checkpoint", record.config["checkpoint"]),
        ("training", str(Path(record.config["checkpoint"]).with_name("training.png"))),
        ("record", str(path)),
    ]
    for name, text in lines:
        click.echo(f"{name:<11} {text}")


def list_command(what: str) -> None:
    """fewshot list."""
    check_choice("list", what, ("models", "datasets", "protocols", "encoders"))
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
    else:
        for column in ("name", "what", "options"):
            table.add_column(column)
        for name in METHODS if what == "models" else ENCODERS:
            chosen = METHODS.get(name) if what == "models" else ENCODERS.get(name)
            missing = METHODS.get(name).unavailable() if what == "models" else ""
            title = f"{chosen.title}\nunavailable: {missing}" if missing else chosen.title
            table.add_row(name, title, "\n".join(map(str, options_of(chosen).values())))
    _terminal().print(table)


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


def data_command(action: str, name: str, root: Path | None) -> None:
    """fewshot data."""
    check_choice("action", action, ("get", "check", "path"))
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


def leaderboard_command(results: Path, write: bool, check: bool, out: Path) -> None:
    """fewshot leaderboard."""
    from fewshot.leaderboard import check_files, render, write_files
    from fewshot.records import read_records

    if write:
        for path in write_files(results):
            click.echo(f"written: {path}")
    elif check:
        check_files(results)
        click.echo("README.md and leaderboard.md say what the records say")
    else:
        click.echo(render(read_records([results / "runs", out / "records"])))


def doctor_command(root: Path | None) -> None:
    """fewshot doctor."""
    from fewshot.doctor import examine, render

    _terminal().print(render(examine(root)))


def bench_command(quick: bool, root: Path | None, as_json: bool) -> None:
    """fewshot bench."""
    from fewshot.bench import measure_all, render

    keep_freed_memory()
    with TerminalReporter() as reporter:
        measurements = measure_all(root, reporter, quick=quick)
    if as_json:
        print_json(measurements)
    else:
        _terminal().print(render(measurements))
