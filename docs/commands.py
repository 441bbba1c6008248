"""The page of the command line: a table of all commands, then each with its usage and, on demand, its options."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import click

from fewshot.cli.main import cli

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
    """What stands between backticks, and every option, as code."""
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)
    parts = re.split(r"(``.*?``)", text)
    return "".join(
        part if part.startswith("``") else re.sub(r"(?<![\w-])--[a-z][\w-]*", r"``\g<0>``", part) for part in parts
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
        yield from _raw(f"<details><summary>{summary}</summary>")
        for option in options:
            yield from (f".. option:: {signature(option)}", "", f"   {code(help_of(option))}", "")
        yield from _raw("</details>")


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
    shown = option.show_default and option.default is not None and not option.is_flag
    return f"{words} [default: {option.default}]" if shown else words


def _said(option: click.Option) -> tuple[str, str]:
    return option.opts[0], option.help or ""


def _raw(html: str) -> Iterator[str]:
    yield from ("", ".. raw:: html", "", f"   {html}", "")


_COMMANDS_WITH = Counter(
    _said(option) for command in visible().values() for option in command.params if isinstance(option, click.Option)
)
