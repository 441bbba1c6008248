"""The figures of classes: which are hard, which are taken for which, where they lie on a map."""

from __future__ import annotations

import numpy as np

from fewshot.reports.html.figures import Figure
from fewshot.reports.html.gallery import ClassResults, Gallery, training_of
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.reports.plots.charts import calibration_chart
from fewshot.reports.plots.class_charts import MOST_CLASSES, class_chart, confusion_chart
from fewshot.reports.plots.sheets import image_sheet, map_chart


def class_figures(board: Board, gallery: Gallery) -> list[Figure]:
    """Confused pairs, who is taken for whom, per-class accuracy, calibration and hardest classes of the best model."""
    rows = {(training_of(row), row.first.readout): row for row in board.rows}
    return [
        figure
        for found in gallery.classes
        if found.digest == board.digest and (found.training, found.readout) in rows
        for figure in _figures_of(found, rows[found.training, found.readout], board)
    ]


def _figures_of(found: ClassResults, row: NamedRow, board: Board) -> list[Figure]:
    accuracies, title = np.array(found.accuracies), f"{row.name}, {board.name}"
    perfect = float((accuracies == 1).mean())
    few = len(accuracies) <= MOST_CLASSES
    names = found.names or tuple(f"class {number}" for number in range(1, len(accuracies) + 1))
    queries = np.array(found.confusion).sum(1) if found.confusion else np.zeros(len(accuracies), np.int64)
    distribution = "" if few else " Bar: the mean. Open diamond: the mean of the worst tenth."
    drawn = {
        "confusions": (
            "Most confused pairs",
            image_sheet(found.confused, 2 if found.photos else 4, "Most confused pairs", named=found.photos),
            "Confusion matrix, its largest entries: queries of one class predicted as the other, either way, over "
            "the queries of both in episodes that hold both.",
        ),
        "class-accuracy": (
            f"Accuracy of {len(accuracies):,} test classes",
            class_chart(names, accuracies, queries, f"Accuracy by class, {title}"),
            f"Worst class {100 * accuracies.min():.1f} %; {100 * perfect:.0f} % of the classes without a mistake."
            f"{distribution}",
        ),
        "calibration": (
            "Reliability diagram",
            calibration_chart(found.calibration, f"Reliability diagram, {title}"),
            f"Expected calibration error {100 * found.calibration_error:.2f} points. On the dashed line confidence "
            "(the largest probability of a prediction) and accuracy agree; below it the model is too sure, "
            "above it not sure enough.",
        ),
        "hard-classes": (
            "Hardest classes",
            image_sheet(found.hardest, 6, "Hardest classes"),
            "Wrong predictions over all queries of the class, in all episodes.",
        ),
    }
    if found.confusion:
        chart = confusion_chart(names, np.array(found.confusion), f"Confusion matrix, {title}")
        note = "Rows: the true class. Columns: what its queries were taken for, in %. Blue is right, orange wrong."
        first, *others = drawn.items()
        drawn = dict([first, ("confusion-matrix", ("Confusion matrix", chart, note)), *others])
    reading = f"The best model of {board.name} with its weights here: {row.name}, every prediction counted."
    return [
        Figure(f"{key}-{board.key}", heading, reading, drawing, note, found.photos)
        for key, (heading, drawing, note) in drawn.items()
    ]


def map_figures(board: Board, gallery: Gallery) -> list[Figure]:
    """The maps of a board."""
    reading = (
        "t-SNE of the embeddings of many images: a mark is an image, its color and shape are its class (both "
        "repeat after thirty), and of each class one image is drawn at its mark. Who lies near is alike to the "
        "encoder; distances between groups, and how large a group looks, mean little."
    )
    names = {training_of(row): row.training_name for row in board.rows}
    figures: list[Figure] = []
    for found in gallery.maps:
        if found.digest == board.digest and found.training in names:
            title = f"{names[found.training]}, {board.dataset}"
            note = f"{len(found.places)} images of {len(found.names)} classes."
            chart = map_chart(found.places, found.classes, found.names, found.images, f"Map of embeddings, {title}")
            figures.append(Figure(f"map-{len(figures) + 1}-{board.key}", title, reading, chart, note, found.photos))
    return figures
