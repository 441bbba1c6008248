"""docs/howto/speed.md: the page about speed, from speed.json and scaling.json beside it. No number is typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fewshot.reports.pages.base import Content, check_files, write_files
from fewshot.reports.rendering import render, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROCESSORS = {"bf16": "with bf16", "fp32": "without bf16"}
"""Kinds of processors by the precision that is chosen there, and what the page calls them."""
_COLUMNS = {"step_ms": "step (ms)", "test_s": "10,000 episodes (s)", "embedding_ms": "embedding 1,024 images (ms)"}
_BUSY = 0.5  # of the cores taken by other work before anything was measured


def write_speed(docs: Path, measured: dict[str, Any]) -> list[Path]:
    """Take up what was measured into speed.json under ``docs`` and write the page anew; the files.

    Times to accuracy are kept side by side, the newest of each goal; what training and testing cost model by model,
    training from a large file, and what was measured on processors with and without bf16 are kept until they are
    measured anew.
    """
    before = _read(docs / "speed.json")
    goals = {_goal_name(found): found for found in before.get("times_to_accuracy", [])}
    if one := measured.get("time_to_accuracy"):
        goals[_goal_name(one)] = one | {"machine": measured["machine"], "load": measured.get("load", 0.0)}
        content = before
    elif "of_models" in measured:
        content = before | {"models": measured}
    elif "large_file" in measured:
        content = before | {"large_file": measured["large_file"]}
    else:
        content = before | {"processors": before.get("processors", {}) | {measured["precision"]: measured}}
    content = content | {"times_to_accuracy": [goals[name] for name in sorted(goals)]}
    scaling = _read(docs / "scaling.json")
    return write_files({docs / "speed.md": _page(content, scaling), docs / "speed.json": _json(content)})


def write_scaling(docs: Path, measured: dict[str, Any]) -> list[Path]:
    """Write scaling.json, its picture, and the page about speed, which shows both; the files."""

    def draw() -> Figure:
        from fewshot.reports.plots.scaling import scaling_figure

        return scaling_figure(measured)

    files: dict[Path, Content] = {docs / "scaling.json": _json(measured), docs / "scaling.svg": draw}
    return write_files(files | {docs / "speed.md": speed_page(docs, measured)})


def check_page(docs: Path) -> None:
    """Raises UserError where speed.md is not what the figures beside it say."""
    check_files({docs / "speed.md": speed_page(docs)}, "`fewshot bench --write`")


def speed_page(docs: Path, scaling: dict[str, Any] | None = None) -> str:
    """The page, from the files in ``docs``."""
    page = _page(_read(docs / "speed.json"), _read(docs / "scaling.json") if scaling is None else scaling)
    return re.sub(r"\b(\d+)w(\d+)s(\d+)q\b", r"\1-way \2-shot, \3 queries a class", page)


def _page(content: dict[str, Any], scaling: dict[str, Any]) -> str:
    optional = ("times_to_accuracy", "models", "large_file")
    processors = {
        PROCESSORS[kind]: content["processors"][kind] for kind in PROCESSORS if kind in content.get("processors", {})
    }
    return render(
        "speed.md",
        content=dict.fromkeys(optional) | content,
        scaling=scaling,
        number=_number,
        busy=_busy,
        goal_warnings="".join(dict.fromkeys(_busy(goal) for goal in content.get("times_to_accuracy", []))),
        processors=processors,
        against_others=_against_others(processors),
        limits=_limits(processors) if processors else None,
        goals=_goals(content.get("times_to_accuracy", [])),
        models=_models(content.get("models", {}).get("measurements", [])),
        figures={
            name: table_of(
                {"what": line["name"], "value": _number(line["value"]), "unit": line["unit"], "how": line["what"]}
                for line in processor["measurements"]
            )
            for name, processor in processors.items()
        },
    )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _goal_name(goal: dict[str, Any]) -> str:
    on = goal.get("precision", "bf16")  # which older ones do not say
    return f"{goal['pixels']} {goal['model']} {goal['way']:03}w{goal['shot']:03}s {goal['recipe']} {on}"


def _busy(content: dict[str, Any]) -> str:
    """A warning where the machine had other work to do."""
    load, cores = content.get("load", 0.0), content["machine"]["cores"]
    if load < _BUSY * cores:
        return ""
    return (
        f" **The machine was busy with other work (load {load:.1f} on {cores} cores before the measurement): times are "
        "too long, and ratios less certain.**"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _against_others(processors: Mapping[str, dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """A table for each setting: every library's times on each kind of processor, and how many times ours that is."""
    lines = [(kind, line) for kind, processor in processors.items() for line in processor["contenders"]]
    ours = {(kind, line["setting"]): line for kind, line in lines if line["name"] == "ours"}
    settings: dict[str, dict[str, dict[str, str]]] = {}
    for kind, line in lines:
        own = ours[kind, line["setting"]]
        who = line["title"] if line is own else f"{line['title']} {line['version']}"
        row = settings.setdefault(f"{line['setting']} ({own['pixels']})", {}).setdefault(who, {"who": who})
        for key, column in _COLUMNS.items():
            if key in line:  # older measurements lack the embedding
                times = "" if line is own else f" ({line[key] / own[key]:.1f} times)"
                row[f"{column} {kind}"] = f"{_number(line[key])}{times}"
    return {setting: table_of(rows.values()).fillna("") for setting, rows in settings.items()}


def _limits(processors: Mapping[str, dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """What the time goes into, and what the training loop adds to a bare step."""
    rates, overheads = [], []
    for loop, peak in ((loop, processor["peak"]) for processor in processors.values() for loop in processor["loops"]):
        best = peak[f"{loop['precision']}_gflops"]
        for kind in ("training", "embedding"):
            rate = loop[f"{kind}_gflops"]
            shares = sorted(loop[f"{kind}_shares"].items(), key=lambda item: -item[1])[:3]
            row = {
                "what": f"{loop['setting']}: {kind}",
                "images/s": _number(loop[f"{kind}_images_per_s"]),
                "GFLOP/s": _number(rate),
                "of the peak": f"{100 * rate / best:.0f} % ({loop['precision']})",
                "most of the time goes into": ", ".join(f"{name} {share:.0f} %" for name, share in shares),
            }
            rates.append(row)
        overhead = {
            "setting": f"{loop['setting']} ({loop['precision']})",
            "bare step (ms)": _number(loop["bare_ms"]),
            "step within train() (ms)": _number(loop["loop_ms"]),
            "overhead": f"{loop['overhead_percent']:+.1f} %",
        }
        overheads.append(overhead)
    return {"rates": table_of(rates), "overhead": table_of(overheads)}


def _goals(goals: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return table_of(
        {
            "what": f"{goal['model']} on {goal['pixels']}, {goal['way']}-way {goal['shot']}-shot",
            "recipe": goal["recipe"],
            "processor": PROCESSORS[goal.get("precision", "bf16")],
            "target": f"{100 * goal['target']:.2f} %",
            "accuracy": f"{100 * goal['median_accuracy']:.2f} %",
            "target met": f"{goal['seeds_that_met_it']} of {len(goal['trainings'])} seeds",
            "training (s)": _number(goal["median_training_seconds"]),
            "no validation (s)": _number(goal["median_seconds_without_validation"]),
            "command (s)": _number(goal["median_command_seconds"]),
        }
        for goal in goals
    )


def _models(measurements: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Of each model a training step, the seconds of a test at five ways and at twenty, and the memory."""
    by_model: dict[str, dict[str, dict[str, Any]]] = {}
    for figure in measurements:
        model, _, rest = figure["name"].partition(": ")
        kind = rest.split()[-1] if figure["unit"] == "s" else {"ms": "step"}.get(figure["unit"], "memory")
        by_model.setdefault(model, {})[kind] = figure
    rows = []
    for model, figures in by_model.items():
        few, more, step = figures["5w1s15q"], figures.get("20w1s15q"), figures.get("step")
        row = {
            "model": model,
            "training step (ms)": "" if step is None else _number(step["value"]),
            "images/s": "" if step is None else step["what"].split(" ")[0],
            "5-way (s)": _number(few["value"]),
            "of these": few["what"].split(",")[0],
            "20-way (s)": "-" if more is None else _number(more["value"]),
            "memory (GB)": _number(figures["memory"]["value"]),
        }
        rows.append(row)
    return table_of(rows)
