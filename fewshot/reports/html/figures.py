"""From cells to the pictures of the report, each with its caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fewshot.reports.charts.canvas import Canvas, grid_of
from fewshot.reports.charts.charts import (
    SERIES,
    Estimate,
    Mark,
    Series,
    heat_map,
    interval_chart,
    learning_panel,
    line_chart,
    ridge_chart,
    scatter_chart,
)
from fewshot.reports.charts.scales import duration
from fewshot.reports.html.row_names import Cell, Entry, spoken
from fewshot.reports.html.summary import source_of
from fewshot.statistics.paired import pairwise_p

_MOST_ROWS = 24
_MOST_COMPARED = 16
_MOST_LINES = 8
_MARKS = {"inductive": "", "self-supervised": " (self)", "transductive": " (trans)", "semi-supervised": " (semi)"}


@dataclass(frozen=True)
class Figure:
    """A picture with its heading; several ``panels`` stand side by side where there is room.

    ``reading`` says how to read it: the same for every figure of its kind. ``note`` is of this one.
    """

    key: str  # the file's name as a single plot
    title: str
    reading: str
    note: str = ""
    panels: tuple[Canvas, ...] = field(default=())

    @property
    def whole(self) -> Canvas:
        """All panels in one canvas, for a file."""
        return self.panels[0] if len(self.panels) == 1 else grid_of(self.panels, 4, self.title)


def label(entry: Entry) -> str:
    """The name of a row with a mark where it is not comparable with inductive ones, or was trained too short."""
    return entry.name + _mark(entry)


def _mark(entry: Entry) -> str:
    return _MARKS[entry.group] + (" (apart)" if entry.apart and "only" not in entry.name else "")


def color_of(entry: Entry) -> str:
    """Blue for the ranked ones; other colors for what must not be compared with them."""
    if entry.apart:
        return SERIES[4]
    return {"inductive": SERIES[0], "self-supervised": SERIES[2], "transductive": SERIES[3]}.get(entry.group, SERIES[1])


def intervals(cell: Cell) -> Figure:
    """Every row of a cell with its interval, and the papers' numbers."""
    rows = []
    for entry in cell.best_readouts[:_MOST_ROWS]:
        paper = entry.published
        rows.append(
            Estimate(
                label(entry), entry.interval.mean, entry.interval.half_width, color_of(entry),
                paper.accuracy / 100 if paper else None,
                paper.ci95 / 100 if paper and paper.ci95 is not None else None,
                f"{entry.name}: {entry.interval.percent()}",
                f"published: {paper.accuracy:.2f} % ({source_of(paper)})" if paper else "",
            )
        )  # fmt: skip
    reading = (
        "Accuracy in %, with the 95 % interval over these test episodes (it says nothing of other classes or another "
        "training). Open diamonds: what the model's own paper prints."
    )
    chart = interval_chart(rows, f"Accuracies on {cell.name}")
    return Figure(f"intervals-{cell.key}", cell.name, reading, _left_out(cell, _MOST_ROWS), (chart,))


def _left_out(cell: Cell, most: int) -> str:
    drawn, rows = cell.best_readouts, len(cell.entries)
    words = [f"The best {most} of {len(drawn)}."] if len(drawn) > most else []
    if rows > len(drawn):
        words.append(f"Of {rows} rows the best read-out of each training.")
    return " ".join(words)


def paired(cell: Cell) -> Figure | None:
    """Paired differences of all rows of a cell; None where there is nothing to compare."""
    entries = cell.best_readouts[:_MOST_COMPARED]
    if len(entries) < 2:
        return None
    accuracies = np.stack([entry.accuracies for entry in entries])
    means = accuracies.mean(axis=1)
    names = [label(entry) for entry in entries]
    chart = heat_map(names, means[:, None] - means[None, :], pairwise_p(accuracies), f"Paired differences, {cell.name}")
    reading = (
        "Row minus column in percentage points, on the same episodes. Blue: the row is better, orange: worse; a dot: "
        "the paired t test with Holm's correction does not tell them apart."
    )
    return Figure(f"paired-{cell.key}", cell.name, reading, _left_out(cell, _MOST_COMPARED), (chart,))


def distribution(cell: Cell) -> Figure:
    """How the accuracies of single episodes spread."""
    chart = ridge_chart(
        [(label(entry), color_of(entry), entry.accuracies) for entry in cell.best_readouts[:_MOST_COMPARED]],
        f"Accuracies of single episodes, {cell.name}",
        cell.entries[0].record.num_queries,
    )
    reading = (
        "Each hill: how often an episode came out with that accuracy (heights by the square root, so that rare "
        "episodes are seen). Bar: the mean. Open diamond: mean of the worst tenth."
    )
    return Figure(f"distribution-{cell.key}", cell.name, reading, _left_out(cell, _MOST_COMPARED), (chart,))


def learning_curves(cells: Sequence[Cell]) -> list[Figure]:
    """A panel for each training of a data set: validation accuracy against training episodes."""
    trainings: dict[str, dict[tuple[str, int | None], Entry]] = defaultdict(dict)
    for cell in cells:
        for entry in cell.best_readouts:
            recipe = entry.record.config["recipe"]
            shot = recipe.get("train_shot") or cell.shot
            how = "trained on batches" if recipe.get("batch_size") else f"trained for {shot} shot{'s' * (shot > 1)}"
            if entry.record.training.get("history") and entry.record.config.get("pixels", cell.pixels) == cell.pixels:
                way = None if recipe.get("batch_size") else recipe.get("train_way") or cell.way
                trainings[f"{cell.dataset}, {how}"].setdefault((entry.training_name, way), entry)
    return [_curves(title, list(of.values())) for title, of in trainings.items()]


def _curves(title: str, entries: Sequence[Entry]) -> Figure:
    by_entry = [_history(entry) for entry in entries]
    order = sorted(range(len(entries)), key=lambda index: -entries[index].record.training.get("val_accuracy", 0.0))
    across = [point[0] for curve in by_entry for point in curve]
    up = [accuracy for curve in by_entry for _, accuracy in curve[len(curve) // 5 :]]
    limits = (min(across) / 1.1, max(across) * 1.1)
    panels = []
    for index in order[:_MOST_ROWS]:
        entry, color = entries[index], color_of(entries[index])
        curves = [Series("", tuple(curve), color if other == index else "") for other, curve in enumerate(by_entry)]
        chosen = max(by_entry[index], key=lambda point: point[1])
        panels.append(learning_panel(entry.training_name, curves, chosen, color, limits, up))
    reading = (
        "Validation accuracy in % against training episodes (both axes stretched); gray: the other models. The ring "
        "is the checkpoint that was tested. Validation ways may differ between models, so compare shapes, not heights."
    )
    key = _file_name(f"learning {title}")
    left = f"The best {_MOST_ROWS} of {len(entries)}." if len(entries) > _MOST_ROWS else ""
    return Figure(key, title, reading, left, tuple(panels))


def _file_name(words: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in words.lower()).split())


def _history(entry: Entry, most: int = 40) -> list[tuple[float, float]]:
    """(episode, validation accuracy), thinned to ``most`` points that hold the best one."""
    history = [(float(step["episode"]), float(step["accuracy"])) for step in entry.record.training["history"]]
    stride = -(-len(history) // most)
    best = max(range(len(history)), key=lambda index: history[index][1])
    return [point for index, point in enumerate(history) if index % stride == 0 or index in (best, len(history) - 1)]


def against_shots(cells: Sequence[Cell]) -> list[Figure]:
    """Accuracy against support images per class, for each way."""
    return _against(cells, "shot", "way", "support images per class (shot)", "{}-way")


def against_ways(cells: Sequence[Cell]) -> list[Figure]:
    """Accuracy against classes per episode, for each shot."""
    return _against(cells, "way", "shot", "classes of an episode (way)", "{}-shot")


def _against(cells: Sequence[Cell], varied: str, fixed: str, x_label: str, words: str) -> list[Figure]:
    boards: dict[tuple[str, str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        boards[cell.dataset, cell.rest, getattr(cell, fixed)].append(cell)
    figures = []
    for (dataset, rest, value), members in boards.items():
        lines: dict[str, list[tuple[float, Entry]]] = defaultdict(list)
        for cell in sorted(members, key=lambda cell: int(getattr(cell, varied))):
            for entry in cell.best_readouts:
                lines[entry.training_name + _mark(entry)].append((float(getattr(cell, varied)), entry))
        complete = {name: line for name, line in lines.items() if len({x for x, _ in line}) > 1}
        if not complete:
            continue
        best_first = sorted(complete, key=lambda name: -complete[name][-1][1].interval.mean)
        series = []
        for rank, name in enumerate(best_first):
            points = tuple((x, entry.interval.mean) for x, entry in complete[name])
            halves = tuple(entry.interval.half_width for _, entry in complete[name])
            series.append(Series(name, points, SERIES[rank] if rank < _MOST_LINES else "", halves))
        title = f"{dataset}, {words.format(value)}{spoken(rest)}"
        gray = f"In color the best {_MOST_LINES} of {len(series)}." if len(series) > _MOST_LINES else ""
        reading = "The axis of accuracies is stretched toward 100 %: equal steps halve the errors."
        chart = line_chart(series, f"{title}: accuracy by {varied}", x_label)
        key = _file_name(f"against {varied} {title}")
        figures.append(Figure(key, title, reading, gray, (chart,)))
    return figures


def costs(cell: Cell) -> Figure | None:
    """Accuracy against seconds of training; None where nothing says what it cost."""
    entries = [entry for entry in cell.best_readouts if entry.train_seconds > 0]
    if len(entries) < 2:
        return None
    marks, best = [], 0.0
    cheapest_first = sorted(entries, key=lambda entry: (entry.train_seconds, -entry.interval.mean))
    for entry in cheapest_first:
        comparable = entry.group == "inductive" and not entry.apart
        front = comparable and entry.interval.mean > best
        best = entry.interval.mean if front else best
        device = entry.record.machine.get("device", "cpu")
        machine = entry.record.machine.get("name", device)
        tip = f"{entry.name}: {entry.interval.percent()}, {duration(entry.train_seconds)} on {machine}"
        marks.append(
            Mark(label(entry), entry.train_seconds, entry.interval.mean, color_of(entry), device != "cpu", front, tip)
        )
    chart = scatter_chart(marks, f"Accuracy against training time, {cell.name}", "training time (one training)")
    reading = (
        "Further up and further left is better; the dashed line joins the inductive models that none beats in both. "
        "Discs: trained on a CPU, diamonds: on a GPU; seconds on different machines do not compare."
    )
    return Figure(f"cost-{cell.key}", cell.name, reading, "", (chart,))
