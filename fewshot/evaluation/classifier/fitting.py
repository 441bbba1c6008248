"""From labeled embeddings to a classifier, and what to expect of it: measured on images held out of its fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from episodes.errors import UserError
from fewshot.evaluation.classifier.heads import HEADS, Head, class_means
from fewshot.evaluation.result import confused_pairs, confusion_of
from fewshot.models.options import check_choice
from fewshot.statistics.intervals import share_interval

FOLDS = 5
"""Few folds give the best estimate of accuracy from a few images (Shimabucoro et al., arXiv 2307.02732)."""
_LEAST_LOG, _MOST_LOG = -7.0, 7.0  # of the temperature, in spreads of the scores


@dataclass(frozen=True, eq=False)
class Expectation:
    """What was found on images that were held out: each once, by a classifier fitted without its fold.

    ``known`` are the scores of those images, ``unknown`` those of images whose whole class was held out.
    """

    folds: int
    labels: npt.NDArray[np.int64]  # (images,)
    predicted: npt.NDArray[np.int64]  # (images,)
    known: npt.NDArray[np.floating]  # (images,)
    unknown: npt.NDArray[np.floating]  # (images,); empty below three classes

    @property
    def accuracy(self) -> float:
        """The share of the held-out images that were classified correctly."""
        return float(np.mean(self.labels == self.predicted))

    def percent(self) -> str:
        """``72.9 % [63.2, 80.8]``, the interval over images."""
        low, high = share_interval(int(np.sum(self.labels == self.predicted)), len(self.labels))
        return f"{100 * self.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

    def confusion(self, way: int) -> npt.NDArray[np.int64]:
        """How many images of class i were taken for class j, (way, way)."""
        return confusion_of(self.labels, self.predicted, way)

    def confused(self, names: tuple[str, ...], most: int = 3) -> list[tuple[str, str, int]]:
        """The pairs of classes that were taken for each other most often, and how often."""
        return confused_pairs(self.confusion(len(names)), names, most)

    @property
    def auroc(self) -> float:
        """The chance that an image of a known class scores above one of an unknown class; NaN where none was tried."""
        if not len(self.unknown):
            return float("nan")
        from sklearn.metrics import roc_auc_score  # here: `predict` does without, and waits seconds less

        known = np.r_[np.ones(len(self.known)), np.zeros(len(self.unknown))]
        return float(roc_auc_score(known, np.r_[self.known, self.unknown]))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head with what turns its scores into probabilities, and the means by which an image is known or not."""

    head: Head
    temperature: float
    means: Float[Tensor, "way dim"]  # of unit vectors, at length 1
    expected: Expectation | None  # None where a class has a single image

    def probabilities(self, rows: Float[Tensor, "images dim"]) -> Float[Tensor, "images way"]:
        """Of each class, adding up to 1."""
        return (self.head.scores(rows) / self.temperature).softmax(-1)

    def double(self) -> Fitted:
        """The same in float64, where an image's answer hardly depends on what else is asked at once."""
        head = replace(self.head, weights=self.head.weights.double(), bias=self.head.bias.double())
        return replace(self, head=head, means=self.means.double())


def fit(
    rows: Float[Tensor, "images dim"], labels: Int64[Tensor, " images"], way: int, readout: str, folds: int = FOLDS
) -> Fitted:
    """Fit ``readout`` to labeled embeddings; each class 0 ... way - 1 must have one.

    The temperature of the probabilities is the one under which the held-out images are likeliest (Guo et al., ICML
    2017); where nothing can be held out it is 1. Raises UserError for fewer than two classes or another read-out.
    """
    check_choice("read-out of a classifier", readout, tuple(HEADS))
    sizes = torch.bincount(labels, minlength=way)
    if way < 2:
        raise UserError("a classifier tells two classes or more apart: give images of another class, too")
    fewest = int(sizes.min())
    expected, temperature = None, 1.0
    if min(folds, fewest) >= 2:
        expected, scores = _expected(rows, labels, way, readout, min(folds, fewest))
        temperature = likeliest_temperature(scores, labels)
    head = HEADS[readout](rows, labels, way)
    return Fitted(head, temperature, known_means(rows, labels, way), expected)


def known_means(rows: Tensor, labels: Tensor, way: int) -> Float[Tensor, "way dim"]:
    """The mean of the unit vectors of each class, at length 1."""
    return normalize(class_means(normalize(rows), labels, way))


def knownness(rows: Float[Tensor, "images dim"], means: Float[Tensor, "way dim"]) -> Float[Tensor, " images"]:
    """How well an image is known: the cosine to the nearest class mean (``max_cosine`` of the open-set protocol)."""
    return (normalize(rows) @ means.T).amax(-1)


def _expected(
    rows: Tensor, labels: Tensor, way: int, readout: str, folds: int
) -> tuple[Expectation, Float[Tensor, "images way"]]:
    """What the held-out images say, and their scores."""
    from sklearn.model_selection import StratifiedKFold

    scores, known = rows.new_empty(len(rows), way), rows.new_empty(len(rows))
    divided = StratifiedKFold(folds, shuffle=True, random_state=0).split(np.zeros(len(rows)), labels.numpy())
    for kept, held in divided:
        support, of_support, query = rows[kept], labels[kept], rows[held]
        scores[held] = HEADS[readout](support, of_support, way).scores(query)
        known[held] = knownness(query, known_means(support, of_support, way))
    predicted = scores.argmax(-1).numpy()
    unknown = _of_unknown_classes(rows, labels, way) if way > 2 else known[:0]
    return Expectation(folds, labels.numpy(), predicted, known.numpy(), unknown.numpy()), scores


def _of_unknown_classes(rows: Tensor, labels: Tensor, way: int) -> Float[Tensor, " images"]:
    """The scores of all images where their own class is taken out of the classifier."""
    cosines = normalize(rows) @ known_means(rows, labels, way).T
    return cosines.scatter(1, labels[:, None], -1.0).amax(-1)


def likeliest_temperature(scores: Float[Tensor, "images way"], labels: Int64[Tensor, " images"]) -> float:
    """The temperature that makes these labels likeliest, looked for around the spread of the scores."""
    from scipy.optimize import minimize_scalar

    spread = float(scores.double().std()) or 1.0

    def loss(logarithm: float) -> float:
        return float(cross_entropy(scores.double() / (spread * np.exp(logarithm)), labels))

    return spread * float(np.exp(minimize_scalar(loss, bounds=(_LEAST_LOG, _MOST_LOG), method="bounded").x))
