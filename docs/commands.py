"""The page of the command line: a table of all commands, then each with its usage and, on demand, its options."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import click

from episodes.datasets.cards import DATASETS
from fewshot.cli.main import cli
from fewshot.models.encoders import ENCODERS
from fewshot.models.hardware import PRECISIONS
from fewshot.models.losses import LOSSES
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of
from fewshot.models.readouts import READOUTS
from fewshot.training.optimizers import OPTIMIZERS
from fewshot.training.recipes import RECIPES

_SEVERAL = 3  # commands that say the same of an option: it is folded away by itself


def visible() -> dict[str, click.Command]:
    """The commands that `fewshot --help` names."""
    return {name: command for name, command in cli.commands.items() if not command.hidden}


def described(command: click.Command) -> Iterator[str]:
    """The paragraphs of `--help` as RST; lines that must not be broken are a block of code."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield from (".. code-block:: text", "", *(f"   {line}" for line in paragraph.splitlines()[1:]))
        else:
            yield code(" ".join(paragraph.split()))
        yield ""


def code(text: str) -> str:
    """What stands between backticks, and every option with its value, as code."""
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)
    parts = re.split(r"(``.*?``)", text)
    return "".join(
        part if part.startswith("``") else re.sub(rf"(?<![\w-])--[a-z][\w-]*{_VALUE}", r"``\g<0>``", part)
        for part in parts
    )


def usage(name: str, command: click.Command) -> Iterator[str]:
    """How it is typed."""
    words = command.collect_usage_pieces(click.Context(command))
    yield from ("", ".. code-block:: text", "", f"   fewshot {' '.join([name, *words])}", "")


def folds(command: click.Command) -> Iterator[str]:
    """Its options, first those of its own; the names of the others stand in the line that opens them."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    shared = [option for option in options if _COMMANDS_WITH[_said(option)] >= _SEVERAL]
    own = [option for option in options if option not in shared]
    yield from folded(f"{len(own)} option{'s' * (len(own) > 1)}", own)
    yield from folded(
        "Shared with other commands: " + ", ".join(f"<code>{option.opts[0]}</code>" for option in shared), shared
    )


def folded(summary: str, options: Sequence[click.Option]) -> Iterator[str]:
    """Options behind a line, each with an anchor of its own."""
    if options:
        yield from raw(f"<details><summary>{summary}</summary>")
        for option in options:
            yield from (f".. option:: {signature(option)}", "", f"   {described_option(option)}", "")
        yield from raw("</details>")


def signature(option: click.Option) -> str:
    """``-o, --out <out>``; of a choice all that may be chosen."""
    if option.is_flag:
        return ", ".join([*option.opts, *option.secondary_opts])
    choices = "|".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ""
    value = choices or (option.metavar or option.name or "").strip("<[]>").lower()
    return ", ".join(f"{word} <{value}>" for word in option.opts)


def help_of(option: click.Option) -> str:
    """What it does and, where the sentence does not say so, what holds without it."""
    words = f"{'Required. ' if option.required else ''}{option.help or ''}"
    return f"{words} [default: {option.default}]" if _shows_default(option) else words


def described_option(option: click.Option) -> str:
    """The same as RST; the default is code where it can be typed so."""
    words = help_of(option)
    if not _shows_default(option):
        return code(words)
    typed = f"{option.default}]"
    return code(f"{words.removesuffix(typed)}`{option.default}`]")


def _shows_default(option: click.Option) -> bool:
    return bool(option.show_default and option.default is not None and not option.is_flag)


def _words() -> Iterator[str]:
    """Words that an option may take: of models, recipes, class splits and hardware."""
    yield from (*METHODS, *READOUTS, *RECIPES, *OPTIMIZERS, *PRECISIONS, "all")
    for card in map(DATASETS.get, DATASETS):
        yield from card.class_splits
    for registry in (METHODS, LOSSES, READOUTS, ENCODERS):
        for name in registry:
            for option in options_of(registry.get(name)).values():
                yield from map(str, option.choices)


def _said(option: click.Option) -> tuple[str, str]:
    return option.opts[0], option.help or ""


def raw(html: str) -> Iterator[str]:
    """HTML as it is, as RST."""
    yield from ("", ".. raw:: html", "", f"   {html}", "")


_COMMANDS_WITH = Counter(
    _said(option) for command in visible().values() for option in command.params if isinstance(option, click.Option)
)
_TAKEN = "|".join(sorted({*_words()}, key=len, reverse=True))
_VALUE = rf"(?: (?:\d(?:[\d.,-]*\d)?|[\w-]+(?:,[\w-]+)+|(?:[\w-]+:)?[A-Z]{{2,}}|{_TAKEN})(?![\w-]))?"
"""Behind an option, if any: numbers, names with commas, a word in capitals that stands for one, or a word it takes."""
