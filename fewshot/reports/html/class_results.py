"""Predictions and embeddings -> what the page keeps of classes, pairs of classes and maps."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from episodes.types import ImageSet, Rows
from fewshot.evaluation.evaluate import Evaluation
from fewshot.evaluation.result import confused_pairs
from fewshot.reports.html.gallery import ClassResults, EmbeddingMap, training_of
from fewshot.reports.html.row_names import NamedRow
from fewshot.reports.plots.class_charts import MOST_CLASSES
from fewshot.reports.plots.embedding_map import Places, rows_of_map, tsne
from fewshot.reports.plots.sheets import SeenClass, central_images

_SHOWN_CLASSES = 18
_SHOWN_PAIRS = 12
_THUMBNAIL = 56  # pixels


def class_results(row: NamedRow, digest: str, found: Evaluation, image_set: ImageSet) -> ClassResults:
    """Every prediction of one model, counted class by class."""
    per_class, calibration = found.per_class(), found.calibration()
    drawn = per_class[per_class["queries"] > 0]
    hardest = drawn.sort_values("accuracy", kind="stable")[:_SHOWN_CLASSES]
    of_class = zip(hardest["class_id"], hardest["queries"], hardest["correct"], strict=True)
    bins = zip(calibration.confidence, calibration.accuracy, calibration.counts, strict=True)
    shown = drawn["class_id"].to_numpy() if len(drawn) <= MOST_CLASSES else np.empty(0, np.int64)
    return ClassResults(
        training_of(row),
        digest,
        tuple(round(float(accuracy), 4) for accuracy in drawn["accuracy"]),
        tuple(
            _seen(image_set, [number], int(queries - correct), int(queries)) for number, queries, correct in of_class
        ),
        tuple(confused_classes(found, image_set, _SHOWN_PAIRS)),
        tuple((round(float(sure), 5), round(float(right), 5), int(count)) for sure, right, count in bins if count),
        round(calibration.expected_error, 5),
        row.first.readout,
        tuple(image_set.class_names[number] for number in shown),
        tuple(tuple(line) for line in found.confusion()[np.ix_(shown, shown)].tolist()),
        not is_ink(image_set),
    )


def confused_classes(found: Evaluation, image_set: ImageSet, most: int) -> list[SeenClass]:
    """The pairs that were taken for each other most often, either way, over the episodes that hold both."""
    assert found.predictions is not None
    asked = found.predictions.class_ids  # (episodes, queries)

    def together(first: int, second: int) -> int:
        """Queries of both classes in episodes that hold both."""
        both = asked[(asked == first).any(axis=1) & (asked == second).any(axis=1)]
        return int(np.isin(both, (first, second)).sum())

    pairs = confused_pairs(found.confusion(), range(image_set.num_classes), most)
    return [_seen(image_set, (first, second), wrong, together(first, second)) for first, second, wrong in pairs]


def _seen(image_set: ImageSet, classes: Sequence[int], wrong: int, queries: int) -> SeenClass:
    images = tuple(thumbnail(image_set, int(image_set.class_starts[number])) for number in classes)
    return SeenClass(tuple(image_set.class_names[number] for number in classes), images, wrong, queries)


def embedding_map(
    table: Float[Tensor, "num_images *feature"], image_set: ImageSet, training: str, digest: str
) -> EmbeddingMap:
    """A few hundred images of up to twenty classes on a map."""
    rows = rows_of_map(image_set)
    on_map = placed_classes(table[rows].flatten(1).float().cpu(), rows, image_set)
    return EmbeddingMap(training, digest, *on_map, not is_ink(image_set))


def placed_classes(
    table: Float[Tensor, "n dim"], rows: Rows, image_set: ImageSet, seed: int = 0
) -> tuple[Places, tuple[int, ...], tuple[str, ...], tuple[bytes, ...]]:
    """Of the images ``rows``, with an embedding for each: their places on a map and their classes 0, 1, ...

    Then of each class its name and the thumbnail of its most central image. Raises UserError for fewer than four rows.
    """
    places = tsne(table, seed)
    drawn, inverse = np.unique(image_set.class_ids.numpy()[rows], return_inverse=True)
    classes = tuple(inverse.tolist())
    images = tuple(thumbnail(image_set, int(rows[index])) for index in central_images(places, classes))
    return places, classes, tuple(image_set.class_names[number] for number in drawn), images


def is_ink(image_set: ImageSet) -> bool:
    """Whether the images are strokes on dark paper, which are shown as people write, and no photographs."""
    return image_set.image_shape[0] == 1 and bool(
        np.median(image_set.images[:: max(1, len(image_set.images) // 50)]) < 32
    )


def thumbnail(image_set: ImageSet, row: int) -> bytes:
    """A small PNG: dark ink on white in 16 grays, or a photograph in 64 colors."""
    pixels, content = image_set.images[row].numpy(), io.BytesIO()
    if is_ink(image_set):
        gray = np.asarray((255 - pixels[0]) // 17 * 17, np.uint8)
        Image.fromarray(gray).quantize(16, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
        return content.getvalue()
    whole = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).convert("RGB")
    whole.thumbnail((_THUMBNAIL, _THUMBNAIL))
    whole.quantize(64).save(content, "PNG", optimize=True)
    return content.getvalue()
