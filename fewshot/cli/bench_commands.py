"""The body of `fewshot bench`: which measurement is wanted, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from episodes.errors import UserError
from fewshot.cli.output import print_json, terminal
from fewshot.cli.progress import TerminalReporter
from fewshot.models.hardware import keep_freed_memory


def bench_command(**choices: Any) -> None:
    """fewshot bench."""
    from fewshot.bench.basics import render

    _check_choices(choices)
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
    from fewshot.bench.basics import measure_all
    from fewshot.bench.large_file import measure_large_file
    from fewshot.bench.methods import measure_models
    from fewshot.bench.scaling import QUICK, measure_scaling
    from fewshot.bench.time_to_accuracy import Goal, measure_time_to_accuracy

    root, model, quick = choices["data"], choices["model"], choices["quick"]
    if choices["time_to_accuracy"]:
        target = None if choices["target"] is None else choices["target"] / 100
        chosen = {name: choices[name] for name in ("dataset", "way", "shot", "recipe")}
        goal = Goal(
            model or "proto", target=target, num_seeds=choices["seeds"], num_episodes=choices["episodes"], **chosen
        )
        return measure_time_to_accuracy(goal, root, reporter)
    if choices["large_file"]:
        return measure_large_file(root, reporter, choices["large_file"])
    if choices["scaling"]:
        return measure_scaling(root, reporter, QUICK if quick else None)
    if model:
        return measure_models(model, root, reporter, quick=quick)
    return measure_all(root, reporter, quick=quick)


def _check_choices(choices: Mapping[str, Any]) -> None:
    """Refuse what does not go together, before anything is measured."""
    asked = [name for name in ("scaling", "time_to_accuracy", "large_file") if choices[name]]
    if len(asked) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UserError(f"{names} are {len(asked)} measurements: ask for one after the other")
    if choices["write"] and choices["model"] not in (None, "all") and not choices["time_to_accuracy"]:
        raise UserError("one model alone is not part of the page about speed: --model all, or leave out --write")


def _written(choices: Mapping[str, Any], measured: dict[str, Any]) -> list[Path]:
    from fewshot.reports.pages.speed import write_scaling, write_speed

    docs = choices["docs"]
    return write_scaling(docs, measured) if choices["scaling"] else write_speed(docs, measured)
