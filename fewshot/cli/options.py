"""Options that several commands share, and the list of numbers that some of them take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

SEED = click.IntRange(0, 2**64 - 1)


def number_list(least: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...] | None]:
    """For an option that takes ``5`` or ``5,20``: whole numbers of at least ``least``, each once, in their order."""
    one: Any = click.IntRange(least)

    def convert(context: click.Context, option: click.Parameter, words: str | None) -> tuple[int, ...] | None:
        if words is None:
            return None
        return tuple(dict.fromkeys(int(one.convert(word, option, context)) for word in words.split(",")))

    return convert


def together(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the data sets [default: $FEWSHOT_DATA, else your data folder].",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
    help="Folder for checkpoints and records.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print the record as JSON on standard output.")
unlabeled_options = together(
    click.option("--unlabeled", type=click.IntRange(1), help="Unlabeled images per class, for semi-supervised models."),
    click.option("--distractors", type=click.IntRange(1), help="Classes of an episode with unlabeled images only."),
)
test_options = together(
    click.option(
        "--dataset", help="Name of a data set, or a folder (or CSV file) of your own images [default: omniglot]."
    ),
    click.option("--split", "class_split", help="Which classes are train, val and test (see `fewshot list datasets`)."),
    click.option("--size", type=click.IntRange(1), help="Side of the images: omniglot's 28 or 105, or for your own."),
    click.option(
        "--protocol",
        default="episodes",
        show_default=True,
        help="episodes (drawn here), or runs (Lake's 20 published runs of 20-way 1-shot; with --split lake).",
    ),
    click.option("--query", type=click.IntRange(1), default=15, show_default=True, help="Test queries per class."),
    click.option("--episodes", type=click.IntRange(2), default=10_000, show_default=True, help="Test episodes."),
    click.option("--episode-seed", type=SEED, default=0, show_default=True, help="Which test episodes."),
    click.option(
        "--damage",
        type=click.FloatRange(0, 1),
        help="Share of the images that is down-sampled four times and back (Fort 2017) [default: 0, or as trained].",
    ),
    click.option("--note", help="A sentence that the record keeps: what was tried, what is left."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
    click.option("--precision", default="auto", show_default=True, help="auto, bf16 or fp32, for the encoder."),
    click.option(
        "--readout",
        help="How frozen embeddings are classified: one, several with commas, or all (see `fewshot list readouts`) "
        "[default: the model's own rule].",
    ),
    data_option,
    out_option,
    json_option,
)
