"""fewshot run, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from episodes.errors import UserError
from fewshot.cli.options import (
    PATH,
    config_options,
    data_option,
    flags_of,
    given,
    json_option,
    out_option,
    parse_model_options,
    results_option,
    workers_options,
)
from fewshot.experiments.config import EvaluateConfig, RunConfig, TuneConfig

if TYPE_CHECKING:
    from fewshot.records.record import RunRecord, TrainingLog

Run = TypeVar("Run", bound=RunConfig)

note_option = click.option("--note", help="A sentence that the record keeps: what was tried, what is left.")
model_options_argument = click.argument("model_options", nargs=-1, type=click.UNPROCESSED, metavar="[MODEL OPTIONS]")


@click.command(
    context_settings={"ignore_unknown_options": True}, short_help="Train a model, select it, test it, write the record."
)
@config_options(RunConfig)
@click.option("--fresh", is_flag=True, help="Train anew, whatever was trained before.")
@click.option("--no-test", is_flag=True, help="Train and validate only: the test classes are never read.")
@note_option
@data_option
@out_option
@json_option
@model_options_argument
def run(**choices: Any) -> None:
    """Train a model, select it on the validation classes, test it, and write checkpoint and record.

    With --readout the trained embeddings are frozen and classified otherwise than the model does by itself.

    Ctrl-C leaves a checkpoint and the same command goes on from it; a finished training is not repeated. Options of
    the model itself, such as --distance cosine, are listed by `fewshot list models`.
    """
    from fewshot.cli.output import print_log, print_outcomes
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.resolve import PRETRAINED
    from fewshot.experiments.run import opened, run_readouts, run_without_test, suited
    from fewshot.models.hardware import keep_freed_memory

    config = config_of(RunConfig, choices | {"model": _model_of(choices)})
    places = {"root": choices["data"], "fresh": choices["fresh"]}
    keep_freed_memory()
    with TerminalReporter() as reporter:
        if choices["note"]:
            if choices["no_test"]:
                raise UserError("a note is kept in the record, and without a test there is none: leave out --note")
            reporter.note(choices["note"])
        made: RunRecord | TrainingLog
        if choices["as_json"] or config.model == PRETRAINED:
            reporter.evaluations = []
        if choices["no_test"]:
            made = run_without_test(config, None, choices["out"], reporter, **places)
            show = partial(print_log, made)
        else:
            dataset = None
            if config.model == PRETRAINED:
                dataset = opened(config, choices["data"], reporter)
                config = suited(config, dataset, _said("way", "shot", "query", "episodes"), reporter)
            outcomes = run_readouts(config, dataset, choices["out"], reporter, **places)
            made, show = outcomes[0][0], partial(print_outcomes, outcomes, evaluations=reporter.evaluations)
        _draw_training(made)
    show(choices["as_json"])


def _said(*options: str) -> set[str]:
    """Those of the options that were typed."""
    source = click.get_current_context().get_parameter_source
    return {name for name in options if source(name) is not ParameterSource.DEFAULT}


def _model_of(choices: Mapping[str, Any]) -> str:
    """The model that was asked for; where none was and the encoder brings weights, nothing is trained."""
    from fewshot.experiments.resolve import PRETRAINED, has_pretrained_weights

    if _said("model") or choices["encoder"] is None:
        return str(choices["model"])
    return PRETRAINED if has_pretrained_weights(choices["encoder"], choices["weights"]) else str(choices["model"])


@click.command(
    context_settings={"ignore_unknown_options": True}, short_help="Try options of a model on the validation classes."
)
@config_options(TuneConfig)
@workers_options
@data_option
@out_option
@results_option
@json_option
@model_options_argument
def tune(**choices: Any) -> None:
    """Try learning rates, optimizers and an option of the model; validation alone judges, no test class is read.

    The first trial is the recipe as it is. The first four do not follow from one another and are made at once where
    --jobs or --executor say so. Every trial is a row of results/tuning/<data set>_<model>.csv, and the same
    command goes on after the last one. What is said here, such as --optimizer adam, is not tried. At the end stand the
    command that trains in full as the best trial did, and the entry that makes it the recipe.
    """
    from fewshot.cli.output import print_tuning
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.comparison.tuning import tune as tuned
    from fewshot.experiments.sweep.jobs import Place
    from fewshot.experiments.sweep.workers import Workers
    from fewshot.models.hardware import keep_freed_memory

    config, workers = config_of(TuneConfig, choices), Workers.of(choices)
    keep_freed_memory()
    place = Place(choices["out"], choices["data"])
    with TerminalReporter() as reporter:
        act = partial(tuned, config, None, place.out, choices["results"], reporter, root=place.root)
        if workers.in_this_process:
            tuning = act()
        else:
            with workers.making(place, reporter.say) as make:
                tuning = act(make=make)
    print_tuning(tuning, choices["as_json"])


def config_of(kind: type[Run], choices: Mapping[str, Any]) -> Run:
    """What the options of `fewshot run` or `fewshot tune` ask for. Raises UserError for words that do not fit."""
    from fewshot.experiments.resolve import divided_options
    from fewshot.models.encoders.library import find_encoder
    from fewshot.models.methods import METHODS
    from fewshot.models.options import options_of

    method_class = METHODS.get(choices["model"])
    encoder_class = find_encoder(choices["encoder"] or method_class.default_encoder)
    known = {option.flag for target in (method_class, encoder_class) for option in options_of(target).values()}
    command = {"run": run, "tune": tune}[kind.verb]
    words = parse_model_options(choices["model_options"], flags_of(command), known, kind.verb)
    return kind(**given(kind, choices), **divided_options(choices["model"], choices["encoder"], words))


def _draw_training(record: RunRecord | TrainingLog) -> None:
    """The course of the training as a picture beside its checkpoint; drawn once, since it does not change."""
    picture = Path(record.trained.checkpoint).with_name("training.png")
    if record.history.validations and not picture.exists():
        from fewshot.records.record import as_stored
        from fewshot.reports.plots.episodes import plot_history

        plot_history(
            as_stored(record)["history"]["validations"],
            picture,
            f"{record.trained.model} on {record.trained.dataset_id}, seed {record.trained.seed}",
        )


@click.command(context_settings={"ignore_unknown_options": True}, short_help="Test a trained model again.")
@click.argument("checkpoint", required=False, type=PATH)
@config_options(EvaluateConfig)
@note_option
@data_option
@out_option
@json_option
@model_options_argument
def evaluate(**choices: Any) -> None:
    """Test a trained model: CHECKPOINT is the checkpoint.safetensors that `fewshot run` wrote.

    Every way with every shot and every read-out gives a record; the images are embedded once.

    Model options change the rule, not the weights: `--batch-norm transductive` for relation. With --as the weights
    serve another model: a proto refined with unlabeled images in the test alone is `--as soft-kmeans-proto`.
    """
    if choices["checkpoint"] is None and choices["embeddings"] is None:
        raise click.UsageError("Missing argument 'CHECKPOINT' (or --embeddings FILE).", click.get_current_context())
    from fewshot.cli.output import print_outcomes
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.evaluate import evaluate_again
    from fewshot.models.hardware import keep_freed_memory

    config = evaluate_config(choices)
    keep_freed_memory()
    with TerminalReporter() as reporter:
        if choices["note"]:
            reporter.note(choices["note"])
        if choices["as_json"]:
            reporter.evaluations = []
        outcomes = evaluate_again(config, None, choices["out"], reporter, root=choices["data"])
    print_outcomes(outcomes, choices["as_json"], reporter.evaluations)


def evaluate_config(choices: Mapping[str, Any]) -> EvaluateConfig:
    """The configuration that the options of `fewshot evaluate` ask for. Raises UserError for words of no model."""
    from fewshot.models.methods import METHODS
    from fewshot.models.options import options_of

    of_models = {option.flag for name in METHODS for option in options_of(METHODS.get(name)).values()}
    words = parse_model_options(choices["model_options"], flags_of(evaluate), of_models, "evaluate")
    return EvaluateConfig(checkpoint=choices["checkpoint"], model_options=words, **given(EvaluateConfig, choices))


@click.command(hidden=True)
@click.option("--size", type=click.IntRange(1), default=105, show_default=True, help="Side of the images: 28 or 105.")
@data_option
@out_option
@json_option
def hausdorff(size: int, **places: Any) -> None:
    """The name by which older records call `fewshot run --model hausdorff --split lake --protocol runs --size 105`."""
    fixed = {"model": "hausdorff", "class_split": "lake", "protocol": "runs", "log": ()}
    click.get_current_context().invoke(run, **fixed, size=size, **places)
