"""What an evaluation found, drawn: figures of matplotlib, in the style of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure
    from torch import Tensor

    from episodes.types import ImageSet
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.models.methods import Method


def plot_classes(evaluation: Evaluation, title: str = "Accuracy by class") -> Figure:
    """The accuracy of each class, the hardest on top; of more than 30 classes, how their accuracies are distributed.

    A notebook shows what is returned, and ``.savefig("classes.pdf")`` keeps it. Raises UserError where predictions were
    not kept.

    >>> strokes = fs.load_dataset("strokes").test
    >>> found = fs.evaluate_embeddings(strokes.images.flatten(1), strokes, episodes=100)
    >>> len(fs.plot_classes(found).axes)
    1
    """
    from fewshot.reports.plots.class_charts import class_chart

    found = evaluation.per_class()
    names, columns = found["class_name"].tolist(), (found["accuracy"].to_numpy(), found["queries"].to_numpy())
    return _shown(class_chart(names, *columns, title))


def plot_confusion(evaluation: Evaluation, title: str = "Confusion matrix") -> Figure:
    """Rows are true classes, columns what their queries were taken for, in percent; blue is right and orange wrong.

    Of more than 20 classes those are drawn that take part in most mistakes. Raises UserError where predictions were not
    kept.

    >>> strokes = fs.load_dataset("strokes").test
    >>> found = fs.evaluate_embeddings(strokes.images.flatten(1), strokes, episodes=100)
    >>> fs.plot_confusion(found).get_label()
    'Confusion matrix'
    """
    from fewshot.reports.plots.class_charts import confusion_chart

    confusion = evaluation.confusion()
    return _shown(confusion_chart(evaluation.per_class()["class_name"].tolist(), confusion, title))


def plot_calibration(evaluation: Evaluation, title: str = "Reliability diagram") -> Figure:
    """Confidence against accuracy, a dot for each of 15 bins: below the dashed line the method is too sure of itself.

    Raises UserError where predictions were not kept.

    >>> strokes = fs.load_dataset("strokes").test
    >>> found = fs.evaluate_embeddings(strokes.images.flatten(1), strokes, episodes=100)
    >>> fs.plot_calibration(found).axes[0].get_ylabel()
    'accuracy'
    """
    from fewshot.reports.plots.charts import calibration_chart

    found = evaluation.calibration()
    bins = zip(found.confidence.tolist(), found.accuracy.tolist(), found.counts.tolist(), strict=True)
    return _shown(calibration_chart([one for one in bins if one[2]], title))


def plot_confused(
    evaluation: Evaluation, images: ImageSet, *, most: int = 12, title: str = "Most confused pairs"
) -> Figure:
    """The pairs of classes that were taken for each other most often, an image of each, and how often.

    ``images`` is what was evaluated. The number under a pair counts the wrong queries among those of both classes in
    episodes that hold both. Raises UserError where predictions were not kept or are of other images.

    >>> strokes = fs.load_dataset("strokes").test
    >>> found = fs.evaluate_embeddings(strokes.images.flatten(1), strokes, episodes=100)
    >>> len(fs.plot_confused(found, strokes, most=3).axes[0].images)  # two of each pair
    6
    """
    from episodes.errors import UserError
    from fewshot.reports.html.class_results import confused_classes
    from fewshot.reports.plots.sheets import image_sheet

    if tuple(evaluation.per_class()["class_name"]) != images.class_names:
        raise UserError(f"the evaluation is of other images than {images}: give those that were evaluated")
    return _shown(image_sheet(confused_classes(evaluation, images, most), 2, title, named=True))


def plot_embeddings(
    embeddings: Method | npt.ArrayLike | Tensor,
    images: ImageSet,
    *,
    most: int = 300,
    seed: int = 0,
    title: str = "Map of embeddings",
) -> Figure:
    """A map (t-SNE) of up to ``most`` images of 20 classes, which ``seed`` draws; the same map each time.

    ``embeddings`` is a method, or a row for each image, (num_images, dim). A mark is an image, its color and
    shape are its class; of each class one image is drawn. Who lies near is alike; distances between groups mean little.
    Raises UserError where the rows are not one for each image, or hold something else than finite numbers.

    >>> strokes = fs.load_dataset("strokes").test
    >>> fs.plot_embeddings(strokes.images.flatten(1), strokes, most=40).get_label()
    'Map of embeddings'
    """
    from fewshot.evaluation.finite_rows import finite_rows
    from fewshot.models.hardware import choose_precision
    from fewshot.models.methods import Method
    from fewshot.reports.html.class_results import placed_classes
    from fewshot.reports.plots.embedding_map import rows_of_map
    from fewshot.reports.plots.sheets import map_chart

    rows = rows_of_map(images, most, seed)
    if isinstance(embeddings, Method):
        from fewshot.evaluation.evaluate import embed_all, refuse_not_finite

        precision = choose_precision("auto", embeddings.encoder.mean.device)
        table = embed_all(embeddings, images.images[rows], precision).flatten(1).float().cpu()
        refuse_not_finite(table)
    else:
        table = finite_rows(embeddings, "embeddings", len(images.images))[rows]
    return _shown(map_chart(*placed_classes(table, rows, images, seed), title))


def _shown(figure: Figure) -> Figure:
    """On white, and with its title, since no page stands around it."""
    from fewshot.reports.colors import INK, PAPER

    width, height = figure.get_size_inches()
    room = 0.42  # inches
    for axes in figure.axes:
        place = axes.get_position()
        axes.set_position(
            (place.x0, place.y0 * height / (height + room), place.width, place.height * height / (height + room))
        )
    figure.set_size_inches(width, height + room)
    figure.set(frameon=True, facecolor=PAPER, dpi=110)
    figure.suptitle(
        str(figure.get_label()),
        fontsize=12,
        color=INK,
        weight="bold",
        y=1 - 0.1 / (height + room),
        va="top",
        parse_math=False,
    )
    return figure
