"""What an evaluation found: the correct queries of every episode and, where they were kept, all predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from episodes.errors import UserError
from episodes.spec import EPISODE, Unit
from fewshot.statistics.intervals import Interval, episode_interval

if TYPE_CHECKING:
    import pandas as pd

Name = TypeVar("Name")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was said of every query: arrays (episodes, queries). Class ids and rows are those of the image set."""

    class_names: tuple[str, ...] = field(repr=False)  # by class id
    images: npt.NDArray[np.int32]  # row of the query in the image set
    class_ids: npt.NDArray[np.int32]  # its true class
    predicted: npt.NDArray[np.int32]  # the class that it was taken for; of several that score alike the first
    confidence: npt.NDArray[np.float32]  # softmax of the scores at the predicted class
    num_images: int = 0  # of the image set


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far confidence can be taken for a probability, in bins of equal width from 0 to 1.

    A bin without a query holds NaN. ``expected_error`` is the mean distance of confidence and accuracy over all
    queries (ECE; Guo et al. 2017, equation 3).
    """

    expected_error: float
    edges: npt.NDArray[np.float64]  # (num_bins + 1,)
    counts: npt.NDArray[np.int64]  # (num_bins,) queries
    confidence: npt.NDArray[np.float64]  # (num_bins,) mean of the queries
    accuracy: npt.NDArray[np.float64]  # (num_bins,)


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Correctly classified queries of every episode, and what it took."""

    correct: npt.NDArray[np.uint16]  # (episodes,)
    num_queries: int  # queries of one episode
    seconds: float
    predictions: Predictions | None = None  # where they were asked for
    unit: Unit = EPISODE

    def __repr__(self) -> str:
        return (
            f"Evaluation({self.interval.percent()} over {len(self.correct):,} episodes of {self.num_queries} queries)"
        )

    @cached_property
    def interval(self) -> Interval:
        """Mean accuracy with its 95 % interval over episodes, or over what ``unit`` says."""
        return episode_interval(self.correct / np.float64(self.num_queries), self.unit)

    @property
    def accuracy(self) -> float:
        """The mean accuracy over episodes, 0 to 1."""
        return self.interval.mean

    def per_class(self) -> pd.DataFrame:
        """A row for each class: ``class_id``, ``class_name``, ``queries``, ``correct``, ``accuracy`` (0 to 1).

        The accuracy is that of the class's queries against whatever classes they met, NaN where it was never drawn.
        Raises UserError where predictions were not kept.
        """
        import pandas as pd

        confusion = self.confusion()
        queries, correct = confusion.sum(1), confusion.diagonal()
        accuracy = np.divide(correct, queries, out=np.full(len(queries), np.nan), where=queries > 0)
        columns = {"class_name": self._kept.class_names, "queries": queries, "correct": correct, "accuracy": accuracy}
        return pd.DataFrame({"class_id": np.arange(len(queries))} | columns)

    def confusion(self) -> npt.NDArray[np.int64]:
        """How many queries of class i were taken for class j, (num_classes, num_classes).

        Two classes can only be confused where an episode holds both. Raises UserError where predictions were not kept.
        """
        kept = self._kept
        return confusion_of(kept.class_ids, kept.predicted, len(kept.class_names))

    def per_image(self) -> npt.NDArray[np.float64]:
        """The share of its episodes in which each image of the set was classified correctly; NaN where it was never
        drawn. Raises UserError where predictions were not kept."""
        kept = self._kept
        rows, hits = kept.images.ravel(), (kept.predicted == kept.class_ids).ravel()
        drawn = np.bincount(rows, minlength=kept.num_images)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(rows, hits, kept.num_images) / drawn, np.float64)

    def details(self, most_classes: int = 100) -> dict[str, Any]:
        """Accuracy of each class, calibration, most confused pairs and, up to ``most_classes``, who is taken for whom,
        as plain data. Raises UserError where predictions were not kept."""
        confusion, calibration, names = self.confusion(), self.calibration(), self._kept.class_names
        bins = zip(calibration.counts, calibration.confidence, calibration.accuracy, strict=True)
        return {
            "classes": list(names),
            "per_class": [None if np.isnan(share) else float(share) for share in self.per_class()["accuracy"]],
            "confusion": confusion.tolist() if len(names) <= most_classes else None,
            "most_confused": self.confused(20),
            "calibration": {
                "expected_error": calibration.expected_error,
                "bins": [[int(count), float(said), float(found)] for count, said, found in bins if count],
            },
        }

    def confused(self, most: int = 5) -> list[tuple[str, str, int]]:
        """The pairs of classes that were taken for each other most often, and how often, both ways together."""
        return confused_pairs(self.confusion(), self._kept.class_names, most)

    def calibration(self, num_bins: int = 15) -> Calibration:
        """Confidence against accuracy. Raises UserError where predictions were not kept.

        A rule that is not trained for likelihood (squared error, hinge) has scores whose softmax promises nothing.
        """
        kept = self._kept
        confidence = kept.confidence.ravel().astype(np.float64)
        bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)  # (low, high]
        counts = np.bincount(bins, minlength=num_bins)
        hits = np.bincount(bins, (kept.predicted == kept.class_ids).ravel(), num_bins)
        promised = np.bincount(bins, confidence, num_bins)
        error = float(np.abs(hits - promised).sum() / len(confidence))
        with np.errstate(invalid="ignore"):
            return Calibration(error, np.linspace(0, 1, num_bins + 1), counts, promised / counts, hits / counts)

    def to_frame(self) -> pd.DataFrame:
        """A row for each query of each episode, with its image, true and predicted class, confidence and correctness.

        Columns: ``episode``, ``query``, ``image`` (row in the image set), ``class_id``, ``class_name``,
        ``predicted_id``, ``predicted_name``, ``confidence``, ``correct``. Raises UserError where predictions were not
        kept.
        """
        import pandas as pd

        kept, names = self._kept, np.array(self._kept.class_names, dtype=object)
        episode, query = np.indices(kept.images.shape)
        columns = {
            "episode": episode,
            "query": query,
            "image": kept.images,
            "class_id": kept.class_ids,
            "class_name": names[kept.class_ids],
            "predicted_id": kept.predicted,
            "predicted_name": names[kept.predicted],
            "confidence": kept.confidence,
            "correct": kept.predicted == kept.class_ids,
        }
        return pd.DataFrame({name: column.ravel() for name, column in columns.items()})

    @property
    def _kept(self) -> Predictions:
        if self.predictions is None:
            raise UserError("only counts were kept of this evaluation: evaluate with keep_predictions=True")
        return self.predictions


def confusion_of(true: npt.NDArray[Any], predicted: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """How often class i was taken for class j, (size, size), from class ids of any shape."""
    pairs = true.astype(np.int64) * size + predicted
    return np.bincount(pairs.ravel(), minlength=size * size).reshape(size, size)


def confused_pairs(confusion: npt.NDArray[np.int64], names: Sequence[Name], most: int) -> list[tuple[Name, Name, int]]:
    """The pairs of classes that were taken for each other most often, and how often; none that never were."""
    mistakes = np.triu(confusion + confusion.T, 1)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    found = [(*map(int, np.unravel_index(place, mistakes.shape)), int(mistakes.flat[place])) for place in order]
    return [(names[first], names[second], count) for first, second, count in found if count]
