"""The classifier in scikit-learn's manner."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from episodes.errors import UserError
from episodes.images.decoding import FilePicture
from episodes.images.torch_dataset import as_array
from fewshot.evaluation.classifier.fitting import FOLDS, Fitted, fit, knownness
from fewshot.evaluation.classifier.model import NamedEncoder, classifier_of, named_encoder, save_classifier


class Classifier(ClassifierMixin, BaseEstimator):
    """A classifier of few images, with the methods of scikit-learn's estimators.

    ``fit(images, labels)`` takes a list of images (paths, PIL images, or tensors of channels, height, width) and a
    label for each; ``encoder`` is what ``fewshot fit --encoder`` takes. With ``encoder=None`` the images are embeddings
    (images, dim) that were made elsewhere. ``readout`` is ``logistic``, ``svm``, ``cosine`` or ``prototype``. A file of
    ``weights`` needs ``encoder_data``, which says what they were trained on.

    After the fit ``classes_`` holds the labels in the order of the probabilities, and ``expected_`` what to expect:
    accuracy and confusion on images that were held out in turn, in up to ``folds`` parts (None where a class has one
    image). Raises UserError, which is a ValueError, for what cannot be used.

    >>> strokes = fs.load_dataset("strokes").test
    >>> pixels = strokes.images.flatten(1).numpy()
    >>> classifier = fs.Classifier(encoder=None).fit(pixels[:60], strokes.class_ids[:60])
    >>> classifier.score(pixels[:60], strokes.class_ids[:60]) > 0.9
    True
    """

    classes_: npt.NDArray[Any]
    expected_: Any
    fitted_: Fitted

    # scikit-learn's checks set parameters to anything; what they are, the docstring says, and fit refuses others
    def __init__(
        self,
        encoder: Any = "lite0",
        readout: Any = "logistic",
        *,
        weights: Any = None,
        encoder_data: Any = None,
        folds: Any = FOLDS,
    ) -> None:
        self.encoder, self.readout, self.weights = encoder, readout, weights
        self.encoder_data, self.folds = encoder_data, folds

    def fit(self, X: Any, y: Any) -> Classifier:  # noqa: N803 - scikit-learn's names
        """Fit to images (or embeddings) and their labels."""
        if self.encoder is None:
            X, y = validate_data(self, X, y)  # noqa: N806
            _, exponent = np.frexp(np.abs(np.asarray(X, np.float64)).max(initial=0.0))
            self._unit = float(np.ldexp(1.0, int(exponent)))  # a power of two, which no answer depends on
        check_classification_targets(y)
        if not isinstance(self.folds, Integral) or self.folds < 2:
            raise UserError(f"folds must be a whole number of 2 or more, not {self.folds!r}")
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(f"a classifier tells two classes or more apart, and there is one class: {self.classes_}")
        self.encoder_ = self._named_encoder()
        rows = self._rows(X, first=True)
        if len(rows) != len(labels):
            raise UserError(f"{len(rows)} images and {len(labels)} labels: give one label for each image")
        self.fitted_ = fit(rows, torch.from_numpy(labels), len(self.classes_), self.readout, int(self.folds))
        self.expected_ = self.fitted_.expected
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """The probability of every class, (images, classes), in the order of ``classes_``."""
        check_is_fitted(self)
        found = self.fitted_.double().probabilities(self._rows(X).double())
        return np.asarray((found / found.sum(-1, keepdim=True)).numpy(), np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """The likeliest class of every image."""
        check_is_fitted(self)
        scores = self.fitted_.double().head.scores(self._rows(X).double())
        return np.asarray(self.classes_[scores.argmax(-1).numpy()])

    def known(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """How well each image is known, -1 to 1: the cosine to the nearest class mean; low for another class."""
        check_is_fitted(self)
        return np.asarray(knownness(self._rows(X).double(), self.fitted_.double().means).numpy(), np.float64)

    def save(self, path: Path | str) -> None:
        """Write what ``fewshot predict`` and ``fewshot export`` read. Raises UserError without an encoder."""
        check_is_fitted(self)
        if self.encoder_ is None:
            raise UserError("a classifier of embeddings does not know how to make them: give it an encoder")
        names = tuple(map(str, self.classes_))
        save_classifier(classifier_of(self.encoder_, self.fitted_, names, self.readout), Path(path))

    def _named_encoder(self) -> NamedEncoder | None:
        if self.encoder is None:
            return None
        return named_encoder(self.encoder, None if self.weights is None else Path(self.weights), self.encoder_data)

    def _rows(self, images: Any, *, first: bool = False) -> Tensor:
        """The embeddings of images, or the embeddings themselves where there is no encoder."""
        if self.encoder_ is None:
            checked = images if first else validate_data(self, images, reset=False)
            return torch.from_numpy(np.ascontiguousarray(checked, np.float64) / self._unit)
        return self.encoder_.embed(torch.from_numpy(_pixels(images, self.encoder_.encoder.image_shape)))


def _pixels(images: Any, image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Images of any kind, uint8 (images, channels, side, side). Raises UserError, which names one that is none."""
    channels, side, _ = image_shape
    found = []
    for number, image in enumerate(images):
        try:
            if isinstance(image, str | Path):
                image = FilePicture(str(image), str(image)).open()
            elif isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[-1] in (1, 3):
                image = image.transpose(2, 0, 1)
            found.append(as_array(image, side, channels))
        except (TypeError, ValueError, OSError) as error:
            name = image if isinstance(image, str | Path) else f"image {number}"
            raise UserError(f"{name} is no image (a path, PIL image or tensor): {error}") from error
    if not found:
        raise UserError("there are no images")
    return np.stack(found)
