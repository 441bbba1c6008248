"""From boards to the figures of the report, each with its caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib.figure as mpl
import numpy as np

from fewshot.reports.colors import SERIES
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.reports.html.summary import source_of
from fewshot.reports.plots.charts import (
    Estimate,
    Line,
    Mark,
    dumbbell_chart,
    duration,
    heat_map,
    interval_chart,
    line_chart,
    ridge_chart,
    scatter_chart,
)
from fewshot.statistics.paired import pairwise_p

_MOST_ROWS = 12
_MOST_COMPARED = 10
_MOST_LINES = 5
_COLORS = {"inductive": SERIES[0], "self-supervised": SERIES[2], "transductive": SERIES[3]}


@dataclass(frozen=True)
class Figure:
    """A drawing with its heading. ``reading`` says how to read all of its kind, ``note`` is of this one."""

    key: str  # the file's name as a single plot
    title: str
    reading: str
    drawing: mpl.Figure
    note: str = ""
    photos: bool = False  # images that a dark page must not turn into their negative
    legend: tuple[tuple[str, str], ...] = ()  # colors and what they mean, where there are several


def label(row: NamedRow) -> str:
    """The name of a row with a mark where it is not comparable with ranked ones."""
    return row.name + _mark(row)


def _mark(row: NamedRow) -> str:
    unranked = " (not ranked)" if row.unranked and "only" not in row.name else ""
    return (f" ({row.setting})" if row.setting != "inductive" else "") + unranked


def color_of(row: NamedRow) -> str:
    """Blue for what is ranked, other colors for what must not be compared with it."""
    return SERIES[4] if row.unranked else _COLORS.get(row.setting, SERIES[1])


def legend_of(rows: Iterable[NamedRow]) -> tuple[tuple[str, str], ...]:
    """The colors of these rows and what they mean; nothing where all are of one."""
    found = {color_of(row): "not ranked" if row.unranked else row.setting for row in rows}
    return tuple(sorted(found.items(), key=lambda of: SERIES.index(of[0]))) if len(found) > 1 else ()


def intervals(board: Board) -> Figure:
    """Every training of a board with its interval, and the published numbers."""
    rows, drawn = [], board.drawn[:_MOST_ROWS]
    for row in drawn:
        paper = row.published if row.published and not row.published.difference else None
        printed = (paper.accuracy / 100, f"published: {paper.accuracy:.2f} % ({source_of(paper)})") if paper else ()
        tip = f"{row.name}: {row.interval.percent()}, {row.num_seeds}"
        rows.append(Estimate(label(row), row.interval.mean, row.interval.half_width, color_of(row), tip, *printed))
    reading = (
        "Accuracy with its 95 % interval over training seeds and test episodes (these test classes; of one training "
        "over episodes alone). Open diamonds: the number published for the model under the same protocol. Only "
        "rows of one color are comparable."
    )
    chart = interval_chart(rows, f"Accuracies on {board.name}")
    note = _left_out(board, _MOST_ROWS)
    return Figure(f"intervals-{board.key}", board.name, reading, chart, note, legend=legend_of(drawn))


def _left_out(board: Board, most: int) -> str:
    drawn, rows = board.drawn, len(board.rows)
    words = [f"The best {most} of {len(drawn)}."] if len(drawn) > most else []
    if rows > len(drawn):
        words.append(f"Of {rows} rows each training by its method's own rule.")
    return " ".join(words)


def paired(board: Board) -> Figure | None:
    """Paired differences of the rows of a board; None where there is nothing to compare."""
    rows = board.drawn[:_MOST_COMPARED]
    if len(rows) < 2:
        return None
    means = np.array([row.interval.mean for row in rows])
    title = f"Paired differences, {board.name}"
    chart = heat_map(
        [label(row) for row in rows], means[:, None] - means, pairwise_p([row.by_seed for row in rows]), title
    )
    reading = (
        "Row against column, in percentage points, on the same episodes. Blue: the row is better, orange: worse; a "
        "dot: the test over seeds and episodes with Holm's correction does not separate them."
    )
    return Figure(f"paired-{board.key}", board.name, reading, chart, _left_out(board, _MOST_COMPARED))


def distribution(board: Board) -> Figure:
    """How the accuracies of single episodes spread."""
    drawn = board.drawn[:_MOST_COMPARED]
    rows = [(label(row), color_of(row), row.accuracies) for row in drawn]
    title, queries = f"Accuracies of single episodes, {board.name}", board.rows[0].first.num_queries
    chart = ridge_chart(rows, title, queries, "accuracy of one episode")
    reading = (
        "How often an episode came out with that accuracy (heights by the square root, so that rare episodes are "
        "seen). Bar: the mean. Open diamond: the mean of the worst tenth."
    )
    note = _left_out(board, _MOST_COMPARED)
    return Figure(f"distribution-{board.key}", board.name, reading, chart, note, legend=legend_of(drawn))


def learning_curves(boards: Sequence[Board]) -> list[Figure]:
    """Validation accuracy against training episodes, for the trainings of each data set."""
    trainings: dict[str, dict[tuple[str, int | None], NamedRow]] = defaultdict(dict)
    for board in boards:
        for row in board.drawn:
            trained, recipe = row.first.trained, row.first.trained.recipe
            shot = recipe.train_shot or board.protocol.shot
            how = "trained on batches" if recipe.batch_size else f"trained for {shot} shot{'s' * (shot > 1)}"
            if row.first.history.validations and trained.dataset_id == row.first.test.dataset_id:
                way = None if recipe.batch_size else recipe.train_way or board.protocol.way
                trainings[f"{board.dataset}, {how}"].setdefault((row.training_name, way), row)
    return [_curves(title, list(of.values())) for title, of in trainings.items()]


def _curves(title: str, rows: Sequence[NamedRow]) -> Figure:
    best_first = sorted(rows, key=lambda row: -(row.first.history.val_accuracy or 0.0))[:_MOST_LINES]
    lines = []
    for color, row in zip(SERIES, best_first, strict=False):
        points = _history(row)
        chosen = max(range(len(points)), key=lambda index: points[index][1])
        tip = f"{row.training_name}: {100 * points[chosen][1]:.2f} % after {points[chosen][0]:,.0f} episodes"
        lines.append(Line(row.training_name, points, color, tip, chosen))
    later = [accuracy for line in lines for _, accuracy in line.points[len(line.points) // 5 :]]
    chart = line_chart(lines, f"Learning curves, {title}", "training episodes", later)
    reading = (
        "Validation accuracy against training episodes. Rings: the checkpoints that were tested. Validation ways may "
        "differ between models, so compare shapes, not heights."
    )
    note = f"The best {_MOST_LINES} of {len(rows)}." if len(rows) > _MOST_LINES else ""
    return Figure(_file_name(f"learning {title}"), title, reading, chart, note)


def _file_name(words: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in words.lower()).split())


def _history(row: NamedRow, most: int = 40) -> tuple[tuple[float, float], ...]:
    """(episode, validation accuracy), thinned to ``most`` points that hold the best one."""
    history = [(float(step.episode), step.accuracy) for step in row.first.history.validations]
    stride = -(-len(history) // most)
    best = max(range(len(history)), key=lambda index: history[index][1])
    kept = (index for index in range(len(history)) if index % stride == 0 or index in (best, len(history) - 1))
    return tuple(history[index] for index in kept)


def against(boards: Sequence[Board], varied: str) -> list[Figure]:
    """Accuracy by support images per class, for each way; or by classes per episode, for each shot."""
    fixed = "way" if varied == "shot" else "shot"
    groups: dict[str, list[Board]] = defaultdict(list)
    for board in boards:
        groups[f"{board.dataset}, {getattr(board.protocol, fixed)}-{fixed}{board.details}"].append(board)
    figures = []
    for title, members in groups.items():
        found: dict[str, dict[int, NamedRow]] = defaultdict(dict)
        for board in sorted(members, key=lambda board: int(getattr(board.protocol, varied))):
            for row in board.drawn:
                found[row.training_name + _mark(row)].setdefault(getattr(board.protocol, varied), row)
        complete = [(name, of) for name, of in found.items() if len(of) > 1]
        complete.sort(key=lambda item: -[*item[1].values()][-1].interval.mean)
        if not complete:
            continue
        values = sorted({value for _, of in complete for value in of})
        drawn = [(name, next(iter(of.values())), of) for name, of in complete[:_MOST_ROWS]]
        rows = [
            (name, color_of(first), [(row.interval.mean, _tip(name, x, varied, row)) for x, row in of.items()])
            for name, first, of in drawn
        ]
        reading = (
            f"Each row is one method; its dots are the same training tested at {values[0]} (open) and at {values[-1]} "
            f"(filled) {_VARIED[varied]}. Near 100 % the axis is stretched: equal steps halve the errors."
        )
        note = f"The best {_MOST_ROWS} of {len(complete)}." if len(complete) > _MOST_ROWS else ""
        chart = dumbbell_chart(rows, f"{title}: accuracy by {varied}")
        key, legend = _file_name(f"against {varied} {title}"), legend_of(first for _, first, _ in drawn)
        figures.append(Figure(key, title, reading, chart, note, legend=legend))
    return figures


_VARIED = {"shot": "support images of a class", "way": "classes to choose from"}


def _tip(name: str, value: int, varied: str, row: NamedRow) -> str:
    return f"{name}, {value}-{varied}: {row.interval.percent()}"


def costs(board: Board) -> Figure | None:
    """Accuracy against seconds of training; None where there is nothing to compare."""
    rows = [row for row in board.drawn if (row.train_seconds or 0.0) > 0]
    if len(rows) < 2:
        return None
    marks, best = [], 0.0
    for row in sorted(rows, key=lambda row: (row.train_seconds, -row.interval.mean)):
        front = row.is_ranked and row.interval.mean > best
        best = row.interval.mean if front else best
        machine, seconds = row.first.hardware, row.train_seconds or 0.0
        tip = f"{row.name}: {row.interval.percent()}, {duration(seconds)} on {machine.name}"
        on_gpu = machine.device != "cpu"
        marks.append(Mark(label(row), seconds, row.interval.mean, color_of(row), tip, on_gpu, front))
    reading = (
        "Further up and further left is better; the dashed line joins the ranked models that none beats in both. "
        "Discs: trained on a CPU, diamonds: on a GPU; times on different machines do not compare."
    )
    chart = scatter_chart(marks, f"Accuracy against training time, {board.name}")
    return Figure(f"cost-{board.key}", board.name, reading, chart, legend=legend_of(rows))
