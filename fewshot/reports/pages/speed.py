"""docs/speed.md: the page about speed, generated from speed.json and scaling.json beside it. No number is typed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.reports.documents import Block, Heading, Paragraph, Table, Value, markdown

_FASTER = ("who", "training step (ms)", "ours is faster", "10,000 test episodes (s)", "ours is faster by")
_BUSY = 0.5  # of the cores taken by other work before anything was measured


def write_speed(docs: Path, measured: dict[str, Any]) -> Path:
    """Take up what was measured into speed.json under ``docs`` and write speed.md anew; the page.

    Times to accuracy are kept side by side, the newest of each goal; what training and testing cost model by model,
    and training from a large file, are kept until they are measured anew; all else is replaced.
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
        content = measured | {name: before[name] for name in ("models", "large_file") if name in before}
    content = content | {"times_to_accuracy": [goals[name] for name in sorted(goals)]}
    _write_json(docs / "speed.json", content)
    return write_page(docs)


def write_scaling(docs: Path, measured: dict[str, Any]) -> list[Path]:
    """Write scaling.json, its picture, and the page about speed, which shows both; the files."""
    from fewshot.reports.plots.scaling import plot_scaling

    _write_json(docs / "scaling.json", measured)
    return [plot_scaling(measured, docs / "scaling.svg"), write_page(docs)]


def write_page(docs: Path) -> Path:
    """Write speed.md of what lies in ``docs``."""
    write_atomically(docs / "speed.md", speed_page(docs).encode())
    return docs / "speed.md"


def check_page(docs: Path) -> None:
    """Raises UserError where speed.md is not what the figures beside it say."""
    page = docs / "speed.md"
    if not page.is_file() or page.read_text(encoding="utf-8") != speed_page(docs):
        raise UserError(f"{page} is not what speed.json and scaling.json say: run `fewshot bench --write`")


def speed_page(docs: Path) -> str:
    """The page, from the files in ``docs``."""
    content, scaling = _read(docs / "speed.json"), _read(docs / "scaling.json")
    blocks: list[Block] = [
        Heading(1, "Speed"),
        Paragraph(
            "Generated from `speed.json` and `scaling.json` by `fewshot bench --write`; do not edit. Every figure was "
            "measured on the spot, ratios side by side in one run; another machine gives other figures."
        ),
    ]
    if content.get("machine"):
        blocks += [Paragraph(_machine_line(content)), *_against_others(content), *_limits(content)]
    blocks += [*_times_to_accuracy(content.get("times_to_accuracy", [])), *_models(content.get("models"))]
    blocks += [*_scale(scaling), *_large_file(content.get("large_file"))]
    if content.get("measurements"):
        blocks += _all_figures(content["measurements"])
    return markdown(blocks) + "\n"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode())


def _goal_name(goal: dict[str, Any]) -> str:
    return f"{goal['pixels']} {goal['model']} {goal['way']:03}w{goal['shot']:03}s {goal['recipe']}"


def _machine_line(content: dict[str, Any]) -> str:
    machine, versions = content["machine"], content.get("versions", {})
    where = f"{machine['name']}, {machine['cores']} cores, {machine['device']}, PyTorch {versions.get('torch', '?')}"
    return f"Measured on: {where}, commit {content.get('commit', '?')[:12]}.{_busy(content)}"


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


def _rows(lines: Sequence[Sequence[str]]) -> tuple[tuple[Value, ...], ...]:
    return tuple(tuple(Value(text) for text in line) for line in lines)


def _against_others(content: dict[str, Any]) -> list[Block]:
    lines = content.get("contenders", [])
    if not lines:
        return []
    blocks: list[Block] = [
        Heading(2, "Against other libraries, on the same work"),
        Paragraph(
            "Prototypical Networks on Conv4-64, all images in memory, each in a process of its own, the better of two "
            "rounds in turns. A step is everything from drawing the episode to the optimizer: Adam for all others, "
            "that of the fast recipe for ours."
        ),
    ]
    for setting in dict.fromkeys(line["setting"] for line in lines):
        here = [line for line in lines if line["setting"] == setting]
        ours = next(line for line in here if line["name"] == "ours")
        rows = []
        for line in here:
            faster = ("step_ms", "test_s")
            ratios = ["" if line is ours else f"{line[key] / ours[key]:.1f} times" for key in faster]
            name = f"{line['title']} {line['version']}" if line is not ours else line["title"]
            rows.append((name, _number(line["step_ms"]), ratios[0], _number(line["test_s"]), ratios[1]))
        blocks += [Heading(3, f"{setting} ({ours['pixels']})"), Table(_FASTER, _rows(rows), frozenset(_FASTER[1:]))]
    described = {line["title"]: line for line in lines}.values()
    return [
        *blocks,
        *(Paragraph(f"{line['title']}: {line['training']}. Test: {line['testing']}.") for line in described),
    ]


def _limits(content: dict[str, Any]) -> list[Block]:
    loops, peak = content.get("loops", []), content.get("peak")
    if not loops or not peak:
        return []
    blocks: list[Block] = [
        Heading(2, "What limits it, and how far the machine's peak is"),
        Paragraph(
            f"The peak is that of a matrix product of {peak['side']}x{peak['side']} in the same run: "
            f"{_number(peak['bf16_gflops'])} GFLOP/s in bf16, {_number(peak['fp32_gflops'])} in fp32. Rates count the "
            "products of the convolutions alone, over the whole time. Shares of time are those of PyTorch's profiler."
        ),
    ]
    head = ("what", "images/s", "GFLOP/s", "of the peak", "most of the time goes into")
    rows = []
    for loop in loops:
        best = peak[f"{loop['precision']}_gflops"]
        for kind in ("training", "embedding"):
            rate = loop[f"{kind}_gflops"]
            shares = sorted(loop[f"{kind}_shares"].items(), key=lambda item: -item[1])[:3]
            spent = ", ".join(f"{name} {share:.0f} %" for name, share in shares)
            line = (f"{loop['setting']}: {kind}", _number(loop[f"{kind}_images_per_s"]), _number(rate))
            rows.append((*line, f"{100 * rate / best:.0f} % ({loop['precision']})", spent))
    blocks.append(Table(head, _rows(rows), frozenset(head[1:4])))
    columns = ("setting", "bare step (ms)", "step within train() (ms)", "overhead")
    lines = [
        (loop["setting"], _number(loop["bare_ms"]), _number(loop["loop_ms"]), f"{loop['overhead_percent']:+.1f} %")
        for loop in loops
    ]
    told = (
        "What the loop adds: drawing, gathering, learning rate, random state, looks at the loss, progress, saved state."
    )
    return [*blocks, Paragraph(told), Table(columns, _rows(lines), frozenset(columns[1:]))]


def _times_to_accuracy(goals: Sequence[dict[str, Any]]) -> list[Block]:
    head = (
        "what",
        "recipe",
        "target",
        "accuracy",
        "target met",
        "training (s)",
        "without validation (s)",
        "command (s)",
    )
    blocks: list[Block] = [Heading(2, "Time to the published accuracy")]
    if not goals:
        return [*blocks, Paragraph("Not measured yet: `fewshot bench --time-to-accuracy --write`.")]
    rows = [
        (
            f"{goal['model']} on {goal['pixels']}, {goal['way']}-way {goal['shot']}-shot",
            goal["recipe"],
            f"{100 * goal['target']:.2f} %",
            f"{100 * goal['median_accuracy']:.2f} %",
            f"{goal['seeds_that_met_it']} of {len(goal['trainings'])} seeds",
            _number(goal["median_training_seconds"]),
            _number(goal["median_seconds_without_validation"]),
            _number(goal["median_command_seconds"]),
        )
        for goal in goals
    ]
    told = (
        "Medians over seeds; every seed trains the whole recipe from nothing and is tested on "
        f"{goals[0]['num_episodes']:,} episodes of the test classes. Weights are chosen on the validation classes. The "
        "command is everything from process start to the written record."
    )
    head = ("what", "recipe", "target", "accuracy", "target met", "training (s)", "no validation (s)", "command (s)")
    busy = "".join(dict.fromkeys(_busy(goal) for goal in goals))
    return [*blocks, Paragraph(told + busy), Table(head, _rows(rows), frozenset(head[2:]))]


def _models(found: dict[str, Any] | None) -> list[Block]:
    """Of each model a training step, the seconds of a test at five ways and at twenty, and the memory."""
    blocks: list[Block] = [Heading(2, "Training and testing, model by model")]
    if not found:
        return [*blocks, Paragraph("Not measured yet: `fewshot bench --model all --write`.")]
    by_model: dict[str, dict[str, dict[str, Any]]] = {}
    for figure in found["measurements"]:
        model, _, rest = figure["name"].partition(": ")
        kind = rest.split()[-1] if figure["unit"] == "s" else {"ms": "step"}.get(figure["unit"], "memory")
        by_model.setdefault(model, {})[kind] = figure
    rows = []
    for model, figures in by_model.items():
        few, more, step = figures["5w1s15q"], figures.get("20w1s15q"), figures.get("step")
        line = (
            model,
            *(("", "") if step is None else (_number(step["value"]), step["what"].split(" ")[0])),
            _number(few["value"]),
            few["what"].split(",")[0],
            "-" if more is None else _number(more["value"]),
        )
        rows.append((*line, _number(figures["memory"]["value"])))
    told = (
        "A training step of the fast recipe on 360 labeled images of Omniglot (60-way 1-shot 5-query, or a batch; with "
        "unlabeled images or second views there are more of them), everything of the loop included. Seconds for 10,000 "
        "test episodes, 1-shot with 15 queries, embedding included; memory of a process that embeds and scores, 20-way "
        f"5-shot too. Commit {found['commit'][:12]}.{_busy(found)}"
    )
    head = ("model", "training step (ms)", "images/s", "5-way (s)", "of these", "20-way (s)", "memory (GB)")
    return [*blocks, Paragraph(told), Table(head, _rows(rows), frozenset((*head[1:4], *head[5:])))]


def _scale(scaling: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = [Heading(2, "Scale")]
    if not scaling:
        return [*blocks, Paragraph("Not measured yet: `fewshot bench --scaling --write`.")]
    flat = "; ".join(
        f"along {axis} the dearest costs {ratio:.2f} times the cheapest"
        for axis, ratio in scaling["largest_over_smallest"].items()
    )
    worst = max(line["added_mb"] for line in scaling["scoring"])
    shape, size, ceiling = "x".join(map(str, scaling["image_shape"])), scaling["file_mb"], scaling["scoring_ceiling_mb"]
    told = (
        f"What an episode costs to draw and gather, from a memory-mapped file of {size:,.0f} MB (images of {shape}): "
        f"{flat}. Scoring adds {worst:,.0f} MB at most to a process that holds the table of embeddings; its ceiling is "
        f"{ceiling:,} MB.{_busy(scaling)}"
    )
    picture = "![cost of an episode against classes, images, way, shot and episodes](scaling.svg)"
    return [*blocks, Paragraph(told), Paragraph(picture)]


def _large_file(found: dict[str, Any] | None) -> list[Block]:
    if not found:
        return [
            Paragraph("Training from a file larger than memory is not measured yet: `fewshot bench --large-file 50`.")
        ]
    small, large = found["small"], found["large"]
    told = (
        f"Training from an image file of {large['file_gb']:.1f} GB on a machine with {found['memory_gb']:.1f} GB of "
        f"memory ({found['setting']}; {found['steps']:,} steps): {_number(large['step_ms'])} ms a step and "
        f"{large['own_mb']:,.0f} MB of the process's own, against {_number(small['step_ms'])} ms and "
        f"{small['own_mb']:,.0f} MB from its first {small['file_gb']:.1f} GB. Commit {found['commit'][:12]}."
        f"{_busy(found)}"
    )
    return [Paragraph(told)]


def _all_figures(measurements: Sequence[dict[str, Any]]) -> list[Block]:
    head = ("what", "value", "unit", "how")
    rows = [(line["name"], _number(line["value"]), line["unit"], line["what"]) for line in measurements]
    return [Heading(2, "Every figure of the run"), Table(head, _rows(rows), frozenset(("value",)))]
