"""The bodies of run and evaluate: turn choices into one call, print what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from episodes.datasets.corruption import corrupted
from episodes.datasets.omniglot.oneshot_runs import NUM_RUNS, RUNS, WAY
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.spec import EpisodeSpec
from fewshot.cli.main import cli, parse_model_options, print_json
from fewshot.cli.progress import TerminalReporter
from fewshot.experiments.config import DEFAULT_UNLABELED, RunConfig
from fewshot.experiments.convert import convert_checkpoint
from fewshot.experiments.measure import OWN_RULE_WORD, Outcome, readouts_named, refuse_unreadable
from fewshot.experiments.run import evaluate_settings, run_readouts
from fewshot.experiments.untrained import refuse_training_options
from fewshot.models.encoders.library import find_encoder
from fewshot.models.factory import initial_weights, read_metadata
from fewshot.models.hardware import DEVICES, PRECISIONS, keep_freed_memory
from fewshot.models.methods import METHODS, Method
from fewshot.models.options import check_choice, checked_options, options_of
from fewshot.models.readouts import READOUTS
from fewshot.progress import Reporter
from fewshot.records.published import target_of
from fewshot.records.record import RunRecord
from fewshot.training.recipes import RECIPES, find_recipe

_RECIPE_OVERRIDES = (
    *("train_way", "train_shot", "train_query", "train_episodes", "learning_rate"),
    *("labeled_share", "unlabeled", "distractors", "batch_size", "per_class", "augment", "turns", "optimizer"),
    "weight_decay",
)


def _keep_note(choices: Mapping[str, Any], reporter: TerminalReporter) -> None:
    if choices["note"]:
        reporter.note(choices["note"])


def run_command(**choices: Any) -> None:
    """fewshot run."""
    with TerminalReporter() as reporter:
        _keep_note(choices, reporter)
        outcomes = run_as_chosen(choices, reporter)
    print_outcomes(outcomes, choices["as_json"])


def run_as_chosen(choices: Mapping[str, Any], reporter: Reporter) -> list[Outcome]:
    """What the options of `fewshot run` ask for: a record for each read-out, and where it was written."""
    model = METHODS.get(choices["model"])  # every word is checked before any data are looked for
    encoder = choices["encoder"] or model.default_encoder
    recipe_name = check_choice("recipe", choices["recipe"], RECIPES)
    readouts = readouts_named(choices["readout"] or OWN_RULE_WORD)
    refuse_unreadable(choices["model"], model, readouts)
    _check_hardware_words(choices)
    choices = as_protocol(choices)
    model_options, encoder_options = _own_options(choices["model_options"], choices["model"], encoder)
    keep_freed_memory()
    dataset = corrupted(
        open_dataset(
            choices["dataset"], choices["data"], choices["class_split"], reporter=reporter, size=choices["size"]
        ),
        choices["damage"],
    )
    recipe = find_recipe(recipe_name, dataset.name, choices["shot"], choices["model"], choices["way"], encoder)
    overrides = {name: choices[name] for name in _RECIPE_OVERRIDES}
    changed = {name: value for name, value in overrides.items() if value is not None}
    if model.trains_on == "nothing":
        others = {"init": choices["init"], "compile": choices["compiled"] or None}
        refuse_training_options(
            choices["model"], changed | {name: value for name, value in others.items() if value is not None}
        )
    config = RunConfig(
        recipe=replace(recipe, **changed),
        model_options=model_options,
        encoder_options=encoder_options,
        shortened=(choices["train_episodes"] or recipe.train_episodes) < recipe.train_episodes,
        encoder=encoder,
        initial=None if choices["init"] is None else initial_weights(choices["init"]),
        runs=choices["protocol"] == RUNS,
        **{name: choices[name] for name in ("model", "way", "shot", "query", "episodes")},
        **{name: choices[name] for name in ("episode_seed", "seed", "device", "precision", "compiled")},
    )
    if choices["tensorboard"] is not None:
        from fewshot.training.tensorboard import tensorboard_observer

        reporter.observers.append(tensorboard_observer(choices["tensorboard"]))
    outcomes = run_readouts(config, dataset, choices["out"], reporter, readouts, fresh=choices["fresh"])
    _draw_training(outcomes[0][0])
    return outcomes


def as_protocol(choices: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choices; with --protocol runs, way, shot, queries and number are those of Lake's runs.

    Raises UserError where `evaluate` was asked for another way or shot, or images are to be damaged.
    """
    if check_choice("protocol", choices["protocol"], ("episodes", RUNS)) == "episodes":
        return choices
    if choices["damage"]:
        raise UserError("Lake's runs are tested as they were published: leave out --damage")
    several = "as_model" in choices  # evaluate takes more than one way and shot
    settings = {"way": (WAY,), "shot": (1,)} if several else {"way": WAY, "shot": 1}
    if several and any(choices[name] and tuple(choices[name]) != value for name, value in settings.items()):
        raise UserError("Lake's runs are 20-way 1-shot: leave out --way and --shot")
    return {**choices, **settings, "query": 1, "episodes": NUM_RUNS, "episode_seed": 0}


def _draw_training(record: RunRecord) -> None:
    """The course of the training as a picture beside its checkpoint; drawn once, since it does not change."""
    picture = Path(record.config["checkpoint"]).with_name("training.png")
    if record.training["history"] and not picture.exists():
        from fewshot.reports.plots.episodes import plot_history

        plot_history(
            record.training["history"], picture, f"{record.model} on {record.config['pixels']}, seed {record.seed}"
        )


def evaluate_command(**choices: Any) -> None:
    """fewshot evaluate."""
    with TerminalReporter() as reporter:
        _keep_note(choices, reporter)
        outcomes = evaluate_as_chosen(choices, reporter)
    print_outcomes(outcomes, choices["as_json"])


def evaluate_as_chosen(choices: Mapping[str, Any], reporter: Reporter) -> list[Outcome]:
    """What the options of `fewshot evaluate` ask for: a record for each setting and read-out, and where it is."""
    _check_hardware_words(choices)
    choices = as_protocol(choices)
    readouts = readouts_named(choices["readout"] or OWN_RULE_WORD)
    keep_freed_memory()
    checkpoint, options = choices["checkpoint"], _rule_options(choices["model_options"])
    metadata = read_metadata(checkpoint)
    model = choices["as_model"] or metadata["model"]
    refuse_unreadable(model, METHODS.get(model), readouts)
    if choices["as_model"] or options:
        checkpoint = convert_checkpoint(checkpoint, model, options, choices["out"])
    same_data = choices["dataset"] in (None, metadata["dataset"])
    dataset = open_dataset(
        choices["dataset"] or metadata["dataset"],
        choices["data"],
        choices["class_split"] or (metadata["class_split"] if same_data else None),
        reporter=reporter,
        image_shape=tuple(metadata["image_shape"]),
        size=choices["size"],
    )
    share = choices["damage"] if choices["damage"] is not None else metadata.get("damage", 0.0)
    return evaluate_settings(
        checkpoint,
        corrupted(dataset, share),
        test_specs(choices, metadata["recipe"], METHODS.get(model)),
        choices["episodes"],
        choices["episode_seed"],
        choices["out"],
        reporter,
        readouts,
        runs=choices["protocol"] == RUNS,
        device=choices["device"],
        precision=choices["precision"],
    )


def _rule_options(words: tuple[str, ...]) -> dict[str, str]:
    """The options of whatever rule the checkpoint is tested with; words that are those of no model are refused."""
    of_evaluate = {flag for parameter in cli.commands["evaluate"].params for flag in parameter.opts}
    of_models = {option.flag for name in METHODS for option in options_of(METHODS.get(name)).values()}
    return parse_model_options(words, of_evaluate, of_models, "evaluate")


def test_specs(choices: Mapping[str, Any], recipe: Mapping[str, Any], method: type[Method]) -> list[EpisodeSpec]:
    """The test episodes that were asked for, each way with each shot; what was left open is as in training."""
    unlabeled = choices["unlabeled"] or recipe.get("unlabeled", 0)
    distractors = choices["distractors"] or recipe.get("distractors", 0)
    if not method.uses_unlabeled:
        if choices["unlabeled"] or choices["distractors"]:
            raise UserError("this model makes no use of unlabeled images: name one that does with --as")
        unlabeled = distractors = 0
    elif not unlabeled:
        unlabeled = DEFAULT_UNLABELED
    return [
        EpisodeSpec(way, shot, choices["query"], unlabeled, distractors)
        for way in choices["way"] or (5,)
        for shot in choices["shot"] or (recipe.get("train_shot", 1),)
    ]


def _check_hardware_words(choices: Mapping[str, Any]) -> None:
    check_choice("device", choices["device"], DEVICES)
    check_choice("precision", choices["precision"], PRECISIONS)


def _own_options(words: tuple[str, ...], model: str, encoder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What only the encoder's constructor knows goes there; all other options are the model's to accept or refuse."""
    of_run = {flag for parameter in cli.commands["run"].params for flag in parameter.opts if flag.startswith("--")}
    method_class, encoder_class = METHODS.get(model), find_encoder(encoder)
    known = options_of(encoder_class) | options_of(method_class)
    chosen = parse_model_options(words, of_run, {option.flag for option in known.values()})
    only_encoder = options_of(encoder_class).keys() - options_of(method_class).keys()
    of_model = {name: value for name, value in chosen.items() if name not in only_encoder}
    of_encoder = {name: value for name, value in chosen.items() if name in only_encoder}
    return (
        checked_options(method_class, of_model, f"model {model}"),
        checked_options(encoder_class, of_encoder, f"encoder {encoder}"),
    )


def print_outcomes(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """One record in full; several as a table. As JSON a record, or a list of them."""
    if as_json:
        contents = [asdict(record) for record, _ in outcomes]
        print_json(contents[0] if len(contents) == 1 else contents)
        return
    if len(outcomes) == 1:
        _print_lines(_lines_of(*outcomes[0]))
        return
    record, path = outcomes[0]
    shared = ("model", "interval", "note", "checkpoint", "training", "embeddings")
    _print_lines([line for line in _lines_of(record, path) if line[0] in shared])
    width = max(len(record.protocol) for record, _ in outcomes)
    for record, path in outcomes:
        accuracy = click.style(record.percent(), bold=True)
        click.echo(f"{record.protocol:<{width}}  {record.readout or OWN_RULE_WORD:<16}  {accuracy}  {path}")


def _lines_of(record: RunRecord, path: Path) -> list[tuple[str, str]]:
    """What is said of one record, as name and text."""
    target = target_of(record)
    smoke = "  SMOKE TEST, not a result" if record.recipe == "smoke" else ""
    short = "  SHORTENED training" if record.shortened else ""
    return [
        ("model", f"{record.model}, {record.recipe} recipe, seed {record.seed}{smoke}{short}"),
        *([("read-out", f"{record.readout}: {READOUTS.get(record.readout).title}")] if record.readout else []),
        ("protocol", record.protocol),
        ("accuracy", f"{click.style(record.percent(), bold=True)}  over {record.num_episodes:,} episodes"),
        ("published", str(target) if target else "no paper gives a number for this protocol"),
        ("interval", record.ci_formula),
        *(("note", note) for note in record.notes),
        *_files_of(record),
        ("record", str(path)),
    ]


def _files_of(record: RunRecord) -> list[tuple[str, str]]:
    """What the record was measured from."""
    if "embeddings" in record.config:
        return [("embeddings", record.config["embeddings"]["file"])]
    checkpoint = record.config["checkpoint"]
    if not checkpoint:  # nothing was learned
        return []
    picture = Path(checkpoint).with_name("training.png")  # not drawn where nothing is trained, nor published
    return [("checkpoint", checkpoint), *([("training", str(picture))] if picture.is_file() else [])]


def _print_lines(lines: Sequence[tuple[str, str]]) -> None:
    for name, text in lines:
        click.echo(f"{name:<11} {text}")
