"""fewshot bench: which measurement is wanted, and how it is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from episodes.errors import UserError
from fewshot.cli.options import PATH, Finite, data_option, json_option, refuse_unread

if TYPE_CHECKING:
    from fewshot.cli.progress import TerminalReporter


@click.command(short_help="Measure speed and memory on the spot.")
@click.option("--quick", is_flag=True, help="Fewer repetitions.")
@click.option(
    "--model",
    help="Instead: a training step, and seconds and memory of 10,000 test episodes, of this method, or of `all` "
    "[default: proto].",
)
@click.option("--time-to-accuracy", is_flag=True, help="Instead: train the whole recipe, once per seed, and test it.")
@click.option("--dataset", default="omniglot", show_default=True, help="With --time-to-accuracy: the images.")
@click.option("--way", type=click.IntRange(2), default=5, show_default=True, help="With --time-to-accuracy: classes.")
@click.option("--shot", type=click.IntRange(1), default=1, show_default=True, help="With it: support images per class.")
@click.option("--recipe", default="fast", show_default=True, help="With --time-to-accuracy: fast, paper or smoke.")
@click.option("--target", type=Finite(0, 100), help="With it: percent to reach [default: the published].")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="With it: number of trainings.")
@click.option("--episodes", type=click.IntRange(2), default=10_000, show_default=True, help="With it: of the test.")
@click.option("--scaling", is_flag=True, help="Instead: cost of an episode against classes, images, way, shot, number.")
@click.option(
    "--large-file",
    type=Finite(0.1),
    metavar="GB",
    help="Instead: train from an image file of so many gigabytes, made for it and removed.",
)
@click.option(
    "--isa",
    type=click.Choice(["avx2"]),
    help="Compute as a processor with AVX2 and no more would: the page has a column for those without bf16, too.",
)
@click.option("--write", is_flag=True, help="Write what was measured, and the page about speed, into --docs.")
@click.option(
    "--docs",
    type=PATH,
    default=Path("docs/howto"),
    show_default=True,
    help="Folder of speed.md, speed.json and scaling.json.",
)
@data_option
@json_option
def bench(**choices: Any) -> None:
    """Measure on the spot: episodes/s, training images/s, seconds for 10,000 test episodes, start-up, memory.

    Beside us: plain PyTorch in both layouts, and easyfsl and learn2learn where they are installed, on the same work.

    With --time-to-accuracy: wall time of the whole recipe of --model from nothing, test accuracy and target. With
    --scaling: what an episode costs with up to a million classes and ten million images. With --large-file 50: a
    training from 50 GB of images, on a machine with less memory than that.
    """
    from fewshot.bench.suite import render
    from fewshot.cli.output import print_json, terminal
    from fewshot.cli.progress import TerminalReporter
    from fewshot.models.hardware import keep_freed_memory

    _check_choices(choices)
    if choices["isa"]:
        use_avx2_at_most()
    keep_freed_memory()
    with TerminalReporter() as reporter:
        measured = _measured(choices, reporter)
    if choices["write"]:
        for path in _written(choices, measured):
            click.echo(f"written: {path}", err=True)
    if choices["as_json"]:
        print_json(measured)
    else:
        terminal().print(render(measured))


def _measured(choices: Mapping[str, Any], reporter: TerminalReporter) -> dict[str, Any]:
    from fewshot.bench.large_file import measure_large_file
    from fewshot.bench.methods import measure_models
    from fewshot.bench.scaling import QUICK, measure_scaling
    from fewshot.bench.suite import measure_all
    from fewshot.bench.time_to_accuracy import measure_time_to_accuracy
    from fewshot.experiments.config import RunConfig

    root, model, quick = choices["data"], choices["model"], choices["quick"]
    if choices["time_to_accuracy"]:
        target = None if choices["target"] is None else choices["target"] / 100
        chosen = {name: choices[name] for name in ("dataset", "way", "shot", "recipe", "episodes")}
        config = RunConfig(model=model or "proto", **chosen)
        return measure_time_to_accuracy(config, target, choices["seeds"], root, reporter)
    if choices["large_file"]:
        return measure_large_file(root, reporter, choices["large_file"])
    if choices["scaling"]:
        return measure_scaling(root, reporter, QUICK if quick else None)
    if model:
        return measure_models(model, root, reporter, quick=quick)
    return measure_all(root, reporter, quick=quick)


def _check_choices(choices: Mapping[str, Any]) -> None:
    """Refuse what does not go together, before anything is measured."""
    goal = ("dataset", "way", "shot", "recipe", "target", "seeds", "episodes")
    by_path = {"time_to_accuracy": ("model", *goal), "large_file": (), "scaling": ("quick",)}
    path = next((name for name in by_path if choices[name]), "")
    read = ["data", "as_json", "write", "isa", *(["docs"] if choices["write"] else []), *by_path]
    label = f"`bench --{path.replace('_', '-')}`" if path else "`bench` without --time-to-accuracy"
    refuse_unread(label, *read, *by_path.get(path, ("quick", "model")))
    asked = [name for name in ("scaling", "time_to_accuracy", "large_file") if choices[name]]
    if len(asked) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UserError(f"{names} are {len(asked)} measurements: ask for one after the other")
    if (
        choices["write"]
        and choices["isa"]
        and (choices["scaling"] or choices["large_file"] or choices["model"] == "all")
    ):
        raise UserError("the page shows this of one kind of processor alone: leave out --isa, or --write")
    if choices["write"] and choices["model"] not in (None, "all") and not choices["time_to_accuracy"]:
        raise UserError("one model alone is not part of the page about speed: --model all, or leave out --write")


def use_avx2_at_most() -> None:
    """For this process and those that it starts. Raises UserError where PyTorch has chosen otherwise before."""
    os.environ |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    from fewshot.models.hardware import has_avx2_at_most

    if not has_avx2_at_most():
        raise UserError("PyTorch computes otherwise than with AVX2 here: --isa avx2 needs an x86 processor")


def _written(choices: Mapping[str, Any], measured: dict[str, Any]) -> list[Path]:
    from fewshot.reports.pages.speed import write_scaling, write_speed

    docs = choices["docs"]
    return write_scaling(docs, measured) if choices["scaling"] else write_speed(docs, measured)
