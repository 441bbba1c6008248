from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC
from torch.nn.functional import normalize

from fewshot.evaluation.classifier.heads import HEADS
from fewshot.models.readouts import READOUTS
from labeled_embeddings import embeddings


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_gives_the_probabilities_of_its_readout(name: str) -> None:
    rows, labels = embeddings([4, 4, 4])
    query = embeddings([5, 5, 5], seed=1)[0]
    support = torch.stack([rows[labels == label] for label in range(3)])[None]
    readout = READOUTS.get(name)()
    shot = support.flatten(0, 2)
    table = readout.prepare(torch.cat([shot, query]))
    expected = readout.logits(table[:12].reshape(1, 3, 4, -1), table[12:][None])[0].softmax(-1)
    found = HEADS[name](rows, labels, 3).scores(query).softmax(-1)
    torch.testing.assert_close(found, expected.float(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "theirs"), [("logistic", LogisticRegression(tol=1e-8)), ("svm", LinearSVC(tol=1e-8))])
def test_a_linear_head_of_unequal_classes_is_that_of_scikit_learn(name: str, theirs: LogisticRegression) -> None:
    rows, labels = embeddings([2, 9, 5])
    query = embeddings([5, 5, 5], seed=1)[0]
    fitted = theirs.fit(normalize(rows).numpy(), labels.numpy())
    expected = fitted.decision_function(normalize(query).numpy())
    np.testing.assert_allclose(HEADS[name](rows, labels, 3).scores(query).numpy(), expected, atol=2e-3)


def test_prototypes_of_unequal_classes_are_nearest_centroids() -> None:
    rows, labels = embeddings([2, 9, 5])
    query = embeddings([9, 9, 9], seed=1)[0]
    expected = NearestCentroid().fit(rows.numpy(), labels.numpy()).predict(query.numpy())
    assert np.array_equal(HEADS["prototype"](rows, labels, 3).scores(query).argmax(-1).numpy(), expected)
