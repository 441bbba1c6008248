"""Options that several commands share, and the list of numbers that some of them take."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from episodes.errors import UserError
from fewshot.experiments.config import LARGEST_SEED, CommonConfig, flag_of, kinds_of, option_fields

Command = TypeVar("Command", bound=Callable[..., Any])

SEED = click.IntRange(0, LARGEST_SEED)
PATH = click.Path(path_type=Path)


def _several(one: click.ParamType[Any], default: Any) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """For an option that takes ``5`` or ``5,20``: all of them as a tuple, each once, in their order."""

    def convert(context: click.Context, option: click.Parameter, words: str | None) -> Any:
        if words is None:
            return default
        return tuple(dict.fromkeys(one.convert(word, option, context) for word in words.split(",")))

    return convert


def config_options(config: type[CommonConfig]) -> Callable[[Command], Command]:
    """An option for every field of a configuration that has a help text."""

    def decorate(command: Command) -> Command:
        kinds = kinds_of(config)
        for item in reversed(option_fields(config)):
            command = _click_option(item, kinds[item.name])(command)
        return command

    return decorate


def _click_option(item: dataclasses.Field[Any], kind: Any) -> Callable[[Command], Command]:
    """The option of a field; its kind is the type of the field, within the limits that the field states."""
    limits, flag = item.metadata["limits"], flag_of(item)
    about: dict[str, Any] = {"default": item.default, "help": item.metadata["help"]}
    about["show_default"] = item.default not in (None, False, ())
    if kind is bool and item.default is None:
        return click.option(f"{flag}/--no-{flag[2:]}", item.name, **about)
    if kind is bool:
        return click.option(flag, item.name, is_flag=True, **about)
    if typing.get_origin(kind) is tuple:
        numbers = typing.get_args(kind)[0] is int
        about |= {"default": None, "metavar": "NUMBERS" if numbers else "NAMES"}
        one: click.ParamType[Any] = click.IntRange(**limits) if numbers else click.STRING
        return click.option(flag, item.name, callback=_several(one, item.default), **about)
    types = {int: click.IntRange(**limits), float: Finite(**limits), Path: PATH}
    return click.option(flag, item.name, type=types.get(kind, str), **about)


class Finite(click.FloatRange):
    """A range without what is no number: NaN is in every range of click's, and infinity in those without an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def given(config: type[CommonConfig], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Of what the command line gives, the fields of a configuration."""
    return {item.name: choices[item.name] for item in option_fields(config)}


def refuse_unread(path: str, *read: str) -> None:
    """Raise UserError for an option that was typed and that the command does not read on this ``path`` of it."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in read and source is ParameterSource.COMMANDLINE:
            raise UserError(f"{parameter.opts[0]} has no meaning for {path}: leave it out")


data_option = click.option(
    "--data",
    type=PATH,
    help="Folder of the data sets [default: $FEWSHOT_DATA, else your data folder].",
)
out_option = click.option(
    "--out",
    type=PATH,
    default=Path("runs"),
    show_default=True,
    help="Folder for checkpoints and records.",
)
results_option = click.option(
    "--results",
    type=PATH,
    default=Path("results"),
    show_default=True,
    help="Folder of the published records (runs/), weights (weights/) and tables.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the record as JSON on standard output.")
latex_option = click.option(
    "--latex", "as_latex", is_flag=True, help="Print tables for a paper (LaTeX with booktabs and siunitx)."
)


def flags_of(command: click.Command) -> set[str]:
    """The flags of a command itself."""
    return {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}


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


def workers_options(command: Command) -> Command:
    """Who makes several runs, and how many at a time; fewshot.experiments.sweep.workers reads what was chosen."""
    executors = click.Choice(("local", "ray", "slurm"))
    of_ray = "Of ray: auto on a machine of a cluster [default: a Ray of this machine alone]."
    of_time = "Of slurm: minutes for a run; one that needs more goes on in another [default: 1440]."
    gpus = Finite(0, min_open=True)
    options = (
        click.option("--executor", type=executors, default="local", show_default=True, help="Who makes the runs."),
        click.option("--jobs", type=click.IntRange(1), help="Runs at a time [default: 1; of slurm: 256]."),
        click.option("--address", help=of_ray),
        click.option("--gpus-per-run", type=gpus, help="Of ray and slurm; ray takes parts, such as 0.25."),
        click.option("--partition", help="Of slurm."),
        click.option("--time", type=click.IntRange(1), help=of_time),
    )
    for option in reversed(options):
        command = option(command)
    return command
