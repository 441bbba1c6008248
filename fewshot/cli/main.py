"""The command line: parse, call one function, print. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from episodes.errors import Interrupted, UserError
from fewshot.cli.bench import bench
from fewshot.cli.options import SEED, data_option, number_list, test_options, unlabeled_options
from fewshot.cli.results import COMMANDS


class HelpfulGroup(click.Group):
    """Answers a mistyped command with the near one and all valid ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from episodes.registry import unknown_name_message

        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(unknown_name_message("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


@click.group(cls=HelpfulGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fewshot-bench", message="fewshot %(version)s")
def cli() -> None:
    """A few-shot learning benchmark whose numbers reproduce.

    \b
    fewshot run --model proto --way 5 --shot 1    train, select, test, record
    fewshot evaluate CHECKPOINT --way 20          test a trained model again
    fewshot show omniglot                         draw episodes into a picture
    fewshot leaderboard                           the table made from the records
    fewshot compare proto relation                on the same episodes, pair by pair
    """


@cli.command(
    context_settings={"ignore_unknown_options": True}, short_help="Train a model, select it, test it, write the record."
)
@click.option("--model", default="proto", show_default=True, help="The method (see `fewshot list models`).")
@click.option(
    "--encoder",
    help="The network, ours or of torchvision or timm (see `fewshot list encoders`) [default: the model's].",
)
@click.option(
    "--init", type=click.Path(path_type=Path), help="Checkpoint whose encoder weights this training starts from."
)
@click.option("--way", type=click.IntRange(2), default=5, show_default=True, help="Classes of a test episode.")
@click.option("--shot", type=click.IntRange(1), default=1, show_default=True, help="Support images per class.")
@click.option(
    "--recipe",
    default="fast",
    show_default=True,
    help="fast, paper (the paper's own) or smoke (seconds; never ranked).",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Initial weights and training episodes.")
@click.option("--train-way", type=click.IntRange(2), help="Classes of a training episode [default: the recipe's].")
@click.option(
    "--train-shot", type=click.IntRange(1), help="Support images per class in training [default: as in the test]."
)
@click.option("--train-query", type=click.IntRange(1), help="Queries per class in training [default: the recipe's].")
@click.option(
    "--train-episodes", type=click.IntRange(1), help="Training episodes; fewer than the recipe's is kept apart."
)
@click.option("--labeled-share", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of the training images that has labels (semi-supervised) [default: all].")  # fmt: skip
@unlabeled_options
@click.option("--batch-size", type=click.IntRange(1), help="Images of a training batch, for models trained on images.")
@click.option("--per-class", type=click.IntRange(1), help="Images of each class in it [default: the recipe's].")
@click.option("--augment", help="Change training images at random: none, flip, ink, ink-light, photo or photo-strong.")
@click.option(
    "--turns/--no-turns", default=None, help="Score each training episode in turns, every image once in the support."
)
@click.option("--optimizer", help="adam or muon: Muon for the convolutions, Adam for the rest [default: the recipe's].")
@click.option(
    "--weight-decay", type=click.FloatRange(0), help="With muon: of the convolutions [default: the recipe's]."
)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="The highest [default: the recipe's].")
@click.option("--compile", "compiled", is_flag=True,
              help="Compile the training step: CUDA graphs on a GPU; on a processor mostly slower.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Train anew, whatever was trained before.")
@click.option(
    "--tensorboard", type=click.Path(path_type=Path), help="Write training curves for TensorBoard into this folder."
)
@test_options
@click.argument("model_options", nargs=-1, type=click.UNPROCESSED, metavar="[MODEL OPTIONS]")
def run(**choices: Any) -> None:
    """Train a model, select it on the validation classes, test it, and write checkpoint and record.

    With --readout the trained embeddings are frozen and classified otherwise than the model does by itself.

    Ctrl-C leaves a checkpoint and the same command goes on from it; a finished training is not repeated. Options of
    the model itself, such as --distance cosine, are listed by `fewshot list models`.
    """
    from fewshot.cli.run_commands import run_command

    run_command(**choices)


@cli.command(context_settings={"ignore_unknown_options": True}, short_help="Test a trained model again.")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option("--embeddings", type=click.Path(path_type=Path), metavar="FILE",
              help="Instead of a checkpoint: test embeddings made elsewhere (.npz, see README).")  # fmt: skip
@click.option("--name", help="With --embeddings: what their model is called in the tables.")
@click.option("--as", "as_model", help="Another model that these weights serve, such as soft-kmeans-proto for proto's.")
@click.option(
    "--way", callback=number_list(2), metavar="NUMBERS", help="Classes of a test episode; also 5,20 [default: 5]."
)
@click.option(
    "--shot", callback=number_list(1), metavar="NUMBERS", help="Support images per class; also 1,5 [default: trained]."
)
@unlabeled_options
@test_options
@click.argument("model_options", nargs=-1, type=click.UNPROCESSED, metavar="[MODEL OPTIONS]")
def evaluate(**choices: Any) -> None:
    """Test a trained model: CHECKPOINT is the checkpoint.safetensors that `fewshot run` wrote.

    Every way with every shot and every read-out gives a record; the images are embedded once.

    Model options change the rule, not the weights: `--batch-norm transductive` for relation. With --as the weights
    serve another model: a proto refined with unlabeled images in the test alone is `--as soft-kmeans-proto`.
    """
    if choices["embeddings"] is not None:
        from fewshot.cli.embedding_commands import own_embeddings_command

        own_embeddings_command(**choices)
        return
    if choices["checkpoint"] is None:
        raise click.UsageError("Missing argument 'CHECKPOINT' (or --embeddings FILE).", click.get_current_context())
    if choices["name"] is not None:
        raise UserError("--name names embeddings made elsewhere: a checkpoint has its model's name")
    from fewshot.cli.run_commands import evaluate_command

    evaluate_command(**choices)


@cli.command("list")
@click.argument("what", metavar="[models|datasets|protocols|encoders|readouts]")
def list_(what: str) -> None:
    """List what can be chosen."""
    from fewshot.cli.list_commands import list_command

    list_command(what)


@cli.command(short_help="Draw episodes of a data set into a PNG.")
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
@click.option("--picture", type=click.Path(path_type=Path), help="The PNG to write [default: DATASET-episode.png].")
@data_option
def show(**choices: Any) -> None:
    """Draw episodes of DATASET into a PNG: support, query and unlabeled images side by side."""
    from fewshot.cli.commands import show_command

    show_command(**choices)


@cli.command(short_help="Fetch a data set, check it, say where it lies, or export its images.")
@click.argument("action", metavar="[get|check|path|export]")
@click.argument("dataset")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--split", "class_split", help="With export: which classes are train, val and test.")
@click.option("--part", default="test", show_default=True, help="With export: train, val or test.")
@data_option
def data(action: str, dataset: str, data: Path | None, **choices: Any) -> None:
    """Fetch a data set (get), read it through and report what is wrong (check), say where it lies (path), or write
    the images of a part into FILE (export), a NumPy archive: to embed them with a model of your own."""
    from fewshot.cli.commands import data_command

    data_command(action, dataset, data, **choices)


@cli.command(short_help="Say what is here and what to do about what is missing.")
@data_option
def doctor(data: Path | None) -> None:
    """Say what is here (versions, device, precision, data sets, learn2learn) and what to do about what is missing."""
    from fewshot.cli.commands import doctor_command

    doctor_command(data)


for command in (bench, *COMMANDS):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Bad input ends with one line on standard error and status 2; Ctrl-C with 130."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(args=words or ["--help"], prog_name="fewshot", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        _fail(_with_hint(error), 2)
    except UserError as error:
        _fail(str(error), 2)
    except Interrupted as stop:
        _fail(str(stop), 130)
    except (KeyboardInterrupt, click.Abort):
        _fail("stopped", 130)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), 1)


def _with_hint(error: click.ClickException) -> str:
    """click's message in one line, with the command whose help to read."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fewshot"
    return f"{error.format_message()} (see `{command} --help`)".replace("\n", " ")


def _fail(message: str, status: int) -> None:
    click.echo(f"fewshot: {' '.join(message.split())}", err=True)
    sys.exit(status)


def parse_model_options(
    words: tuple[str, ...], flags: set[str], known: Collection[str] = (), command: str = "run"
) -> dict[str, str]:
    """``("--distance", "cosine")`` -> ``{"distance": "cosine"}``; a flag without a value is true.

    ``flags`` are the options of the command itself: a near one is suggested for a word that is none of the model's
    ``known`` options.
    """
    options: dict[str, str] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--"):
            raise UserError(f"{word!r} belongs to no option: options look like --way 5")
        name, equals, value = word[2:].partition("=")
        if equals:
            position += 1
        elif position + 1 < len(words) and not words[position + 1].startswith("--"):
            value, position = words[position + 1], position + 2
        else:
            value, position = "true", position + 1
        near = difflib.get_close_matches(f"--{name}", flags, n=1, cutoff=0.75)
        if near and f"--{name}" not in known:
            raise UserError(f"unknown option --{name}. Did you mean {near[0]}? (see `fewshot {command} --help`)")
        options[name.replace("-", "_")] = value
    return options


def print_json(content: Any) -> None:
    """Machine-readable output, on standard output alone."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True))
