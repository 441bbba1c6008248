"""docs/howto/speed.md: the page about speed, and its picture, from speed.json and scaling.json. No number is typed."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from episodes.datasets.cards import DATASETS
from fewshot.reports.names import dataset_name, images_name, shape_name
from fewshot.reports.pages.base import Content, check_files, write_files
from fewshot.reports.rendering import render, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROCESSORS = {"bf16": "with bf16", "fp32": "without bf16"}
"""Kinds of processors by the precision that is chosen there, and what the page calls them."""
_COLUMNS = {"step_ms": "step (ms)", "test_s": "10,000 episodes (s)", "embedding_ms": "embedding 1,024 images (ms)"}
_WORK = {"step_ms": "training step", "test_s": "10,000 test episodes"}  # what is compared at a glance
_SMALL = 10
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
    shown = _shown(docs, content, _read(docs / "scaling.json"))
    return write_files(shown | {docs / "speed.json": _json(content)})


def write_scaling(docs: Path, measured: dict[str, Any]) -> list[Path]:
    """Write scaling.json, its picture, and the page about speed, which shows both; the files."""

    def draw() -> Figure:
        from fewshot.reports.plots.scaling import scaling_figure

        return scaling_figure(measured)

    files: dict[Path, Content] = {docs / "scaling.json": _json(measured), docs / "scaling.svg": draw}
    return write_files(files | {docs / "speed.md": _page(_read(docs / "speed.json"), measured)})


def check_page(docs: Path) -> None:
    """Raises UserError where speed.md is not what the figures beside it say."""
    check_files(_shown(docs, _read(docs / "speed.json"), _read(docs / "scaling.json")), "`fewshot bench --write`")


def _shown(docs: Path, content: dict[str, Any], scaling: dict[str, Any]) -> dict[Path, Content]:
    """The page and, where libraries were compared, their picture."""
    files: dict[Path, Content] = {docs / "speed.md": _page(content, scaling)}
    if content.get("processors"):
        files[docs / "speed.svg"] = lambda: _draw(_processors(content))
    return files


def _processors(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was measured on each kind of processor, by what the page calls it."""
    measured = content.get("processors", {})
    return {name: measured[kind] for kind, name in PROCESSORS.items() if kind in measured}


def _page(content: dict[str, Any], scaling: dict[str, Any]) -> str:
    optional = ("times_to_accuracy", "models", "large_file")
    processors = _processors(content)
    page = render(
        "speed.md",
        content=dict.fromkeys(optional) | content,
        scaling=scaling,
        number=_number,
        busy=_busy,
        goal_warnings="".join(dict.fromkeys(_busy(goal) for goal in content.get("times_to_accuracy", []))),
        processors=processors,
        glance=_at_a_glance(processors),
        against_others=_against_others(processors),
        limits=_limits(processors) if processors else None,
        goals=[_goal(goal) for goal in content.get("times_to_accuracy", [])],
        models=_models(content.get("models", {}).get("measurements", [])),
        steps=_steps(content.get("models", {}).get("measurements", [])),
        figures={
            name: table_of(
                {"what": line["name"], "value": _number(line["value"]), "unit": line["unit"], "how": line["what"]}
                for line in processor["measurements"]
            )
            for name, processor in processors.items()
        },
    )
    return _with_words(page)


def _with_words(text: str) -> str:
    """``60-way 1-shot, 5 queries a class`` for 60w1s5q, and the names of data sets as their cards have them."""
    text = re.sub(r"\b(\d+)w(\d+)s(\d+)q\b", r"\1-way \2-shot, \3 queries a class", text)
    return re.sub(rf"\b({'|'.join(DATASETS)})(?=:| \d+-way)", lambda name: dataset_name(name[1]), text)


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


def _ratios(processors: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """Of every contender's times how many times ours they are, a row for each kind of work."""
    rows = []
    for kind, processor in processors.items():
        ours = {line["setting"]: line for line in processor["contenders"] if line["name"] == "ours"}
        for line in processor["contenders"]:
            row = {"processor": kind, "library": line["title"], "setting": line["setting"], "ms": line["step_ms"]}
            own = ours[line["setting"]]
            rows.append(row | {"is_ours": line is own} | {key: line[key] / own[key] for key in _WORK})
    return pd.DataFrame(rows)


def _at_a_glance(processors: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """A row for each other library: how many times as long as ours, from the setting of least to that of most."""
    if not processors:
        return table_of([])
    ratios = _ratios(processors)
    rows = []
    for library, of in ratios[~ratios["is_ours"]].groupby("library", sort=False):
        row = {"library": str(library)}
        for key, work in _WORK.items():
            for kind in processors:
                found = of.loc[of["processor"] == kind, key]
                row[f"{work}, {kind}"] = "" if found.empty else f"{_span(found)} times"
        rows.append(row)
    return table_of(rows)


def _span(values: Iterable[float]) -> str:
    """``2.2–3.6``, with a decimal where all are small; one number where all are alike."""
    found = sorted(values)
    ends = [f"{value:.1f}" if found[-1] < _SMALL else f"{value:,.0f}" for value in (found[0], found[-1])]
    return "–".join(dict.fromkeys(ends))


def _draw(processors: Mapping[str, dict[str, Any]]) -> Figure:
    """The steps of all libraries, in the order of the measurement that had most of them."""
    from fewshot.reports.plots.speed import step_times_figure

    fullest = sorted(processors.values(), key=lambda processor: -len(processor["contenders"]))
    order = list(dict.fromkeys(line["title"] for processor in fullest for line in processor["contenders"]))
    times = _ratios(processors)
    times = times.sort_values("library", key=lambda names: names.map(order.index), kind="stable")
    times = times.sort_values("processor", key=lambda names: names.map([*processors].index), kind="stable")
    ratios = zip(times["ms"], times["is_ours"], times["step_ms"], strict=True)
    words = [f"{_number(ms)} ms" + ("" if is_ours else f", {ratio:.1f} times") for ms, is_ours, ratio in ratios]
    return step_times_figure(times.assign(words=words, setting=times["setting"].map(_with_words)))


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


def _limits(processors: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What the time goes into, and what the training loop adds to a bare step; tables, and both in a few words."""
    rates, overheads = [], []
    shares: dict[str, list[float]] = {"training": [], "embedding": []}
    for loop, peak in ((loop, processor["peak"]) for processor in processors.values() for loop in processor["loops"]):
        for kind, of_peak in shares.items():
            of_peak.append(100 * loop[f"{kind}_gflops"] / peak[f"{loop['precision']}_gflops"])
            most = sorted(loop[f"{kind}_shares"].items(), key=lambda item: -item[1])[:3]
            row = {
                "what": f"{loop['setting']}: {kind}",
                "images/s": _number(loop[f"{kind}_images_per_s"]),
                "GFLOP/s": _number(loop[f"{kind}_gflops"]),
                "of the peak": f"{of_peak[-1]:.0f} % ({loop['precision']})",
                "most of the time goes into": ", ".join(f"{name} {share:.0f} %" for name, share in most),
            }
            rates.append(row)
        overhead = {
            "setting": f"{loop['setting']} ({loop['precision']})",
            "bare step (ms)": _number(loop["bare_ms"]),
            "step within train() (ms)": _number(loop["loop_ms"]),
            "overhead": f"{loop['overhead_percent']:+.1f} %",
        }
        overheads.append(overhead)
    added = [loop["overhead_percent"] for processor in processors.values() for loop in processor["loops"]]
    words = {kind: f"{_span(of_peak)} %" for kind, of_peak in shares.items()} | {"added": f"{max(added):.1f} %"}
    return {"rates": table_of(rates), "overhead": table_of(overheads), "words": words}


def _goal(goal: dict[str, Any]) -> dict[str, str]:
    """What is said of a training to the published accuracy."""
    return {
        "model": goal["model"],
        "cell": f"{images_name(goal['pixels'])}, {shape_name(goal['way'], goal['shot'])}",
        "recipe": goal["recipe"],
        "processor": PROCESSORS[goal.get("precision", "bf16")],
        "target": f"{100 * goal['target']:.2f} %",
        "accuracy": f"{100 * goal['median_accuracy']:.2f} %",
        "met": f"{goal['seeds_that_met_it']} of {len(goal['trainings'])} seeds",
        "training": f"{_number(goal['median_training_seconds'])} s",
        "without_validation": f"{_number(goal['median_seconds_without_validation'])} s",
        "command": f"{_number(goal['median_command_seconds'])} s",
    }


def _steps(measurements: Sequence[dict[str, Any]]) -> dict[str, str] | None:
    """The cheapest, the median and the dearest training step of all models; None where none was measured."""
    found = {line["name"].partition(":")[0]: line["value"] for line in measurements if line["unit"] == "ms"}
    if not found:
        return None
    names = sorted(found, key=lambda name: found[name])
    ends = {end: f"{_number(found[name])} ms (`{name}`)" for end, name in (("least", names[0]), ("most", names[-1]))}
    return ends | {"median": f"{_number(statistics.median(found.values()))} ms"}


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
