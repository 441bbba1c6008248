from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch.nn.functional import normalize

from episodes.errors import UserError
from fewshot.evaluation.classifier.fitting import fit, knownness, likeliest_temperature
from labeled_embeddings import embeddings

ROWS, LABELS = embeddings([8, 6, 7, 9])


def test_the_expected_accuracy_is_that_of_scikit_learns_cross_validation() -> None:
    fitted = fit(ROWS, LABELS, 4, "logistic")
    found = fitted.expected
    assert found is not None
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(LogisticRegression(), normalize(ROWS).numpy(), LABELS.numpy(), cv=folds)
    assert found.folds == 5
    assert np.array_equal(found.predicted, predicted)
    assert found.accuracy == float(np.mean(predicted == LABELS.numpy()))
    assert np.array_equal(found.confusion(4), confusion_matrix(LABELS, predicted))
    low, high = (float(number) / 100 for number in found.percent().split("[")[1].rstrip("]").split(","))
    assert low < found.accuracy < high


def test_there_are_no_more_folds_than_images_of_a_class() -> None:
    rows, labels = embeddings([3, 8])
    found = fit(rows, labels, 2, "svm").expected
    assert found is not None
    assert (found.folds, len(found.labels), len(found.unknown)) == (3, 11, 0)
    single = fit(*embeddings([1, 8]), 2, "svm")
    assert single.expected is None
    assert single.temperature == 1


def test_images_whose_class_is_taken_out_are_less_known() -> None:
    fitted = fit(ROWS, LABELS, 4, "prototype")
    found = fitted.expected
    assert found is not None
    others = [fit(ROWS[left != LABELS], torch.unique(LABELS[left != LABELS], return_inverse=True)[1], 3, "prototype")
              for left in range(4)]  # fmt: skip
    expected = torch.empty(len(ROWS))
    for left, other in enumerate(others):
        expected[left == LABELS] = knownness(ROWS[left == LABELS], other.means)
    np.testing.assert_allclose(found.unknown, expected.numpy(), atol=1e-5)
    known = np.r_[np.ones(len(found.known)), np.zeros(len(found.unknown))]
    assert found.auroc == pytest.approx(roc_auc_score(known, np.r_[found.known, found.unknown]))
    assert found.auroc > 0.6


def test_probabilities_are_as_sharp_as_the_held_out_images_were_right() -> None:
    """Scores 1,000 times too large are brought back, and the temperature is the best of many."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 3, generator=generator)
    labels = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
    found = likeliest_temperature(1000 * scores, labels)
    assert found == pytest.approx(1000, rel=0.3)
    losses = {t: float(torch.nn.functional.cross_entropy(1000 * scores / t, labels)) for t in np.geomspace(1, 1e4, 99)}
    assert float(torch.nn.functional.cross_entropy(1000 * scores / found, labels)) <= min(losses.values()) + 1e-6


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="two classes or more"):
        fit(ROWS, torch.zeros_like(LABELS), 1, "svm")
    with pytest.raises(UserError, match="unknown read-out of a classifier 'finetune'"):
        fit(ROWS, LABELS, 4, "finetune")
