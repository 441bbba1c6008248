"""What an evaluation tells of every query, against loops over the episodes; where only counts were kept, it says so."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

import fewshot as fs
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import EpisodeError
from fewshot.evaluation.evaluate import embed_all, evaluate, evaluate_readout
from fewshot.evaluation.result import Evaluation, Predictions
from fewshot.models.hardware import choose_precision
from fewshot.models.methods import Method
from fewshot.models.readouts import READOUTS
from toy_classes import toy_method, toy_set

SPEC, NUM_EPISODES = EpisodeSpec(way=4, shot=2, num_query=3), 25
IMAGES = toy_set(noise=130)


@pytest.fixture(scope="module")
def method() -> Method:
    return toy_method(width=16)


@pytest.fixture(scope="module")
def found(method: Method) -> Evaluation:
    return evaluate(method, EpisodeSampler(IMAGES, SPEC, seed=3), NUM_EPISODES, keep_predictions=True)


def test_predictions_are_those_of_every_query_and_agree_with_the_counts(method: Method, found: Evaluation) -> None:
    sampler, kept = EpisodeSampler(IMAGES, SPEC, seed=3), found.predictions
    assert kept is not None
    assert {part.shape for part in (kept.images, kept.class_ids, kept.predicted, kept.confidence)} == {(25, 12)}
    table = embed_all(method, IMAGES.images, "fp32")
    for index in range(NUM_EPISODES):
        episode = sampler[index]
        assert kept.images[index].tolist() == episode.query[0].tolist()
        logits = method.logits(table[episode.support], table[episode.query])[0]
        classes = [int(IMAGES.class_ids[row]) for row in episode.support[0, :, 0]]
        assert kept.predicted[index].tolist() == [classes[int(row.argmax())] for row in logits]
        assert kept.class_ids[index].tolist() == [classes[label] for label in episode.labels[0]]
        np.testing.assert_allclose(kept.confidence[index], logits.softmax(-1).amax(-1), rtol=1e-4)
    assert ((kept.class_ids == kept.predicted).sum(1) == found.correct).all()
    assert 0 < found.accuracy < 1


def test_the_confusion_matrix_and_the_accuracy_of_each_class_count_queries(found: Evaluation) -> None:
    frame = found.to_frame()
    assert len(frame) == NUM_EPISODES * SPEC.num_queries
    expected = confusion_matrix(frame["class_id"], frame["predicted_id"], labels=range(IMAGES.num_classes))
    assert (found.confusion() == expected).all()
    assert frame["class_name"].tolist() == [IMAGES.class_names[number] for number in frame["class_id"]]
    assert frame.groupby("episode")["correct"].sum().tolist() == found.correct.tolist()
    queries, correct = Counter(frame["class_id"]), Counter(frame["class_id"][frame["correct"]])
    for _, row in found.per_class().iterrows():
        number = row["class_id"]
        assert (row["queries"], row["correct"]) == (queries[number], correct[number])
        assert row["accuracy"] == pytest.approx(correct[number] / queries[number])
    assert found.per_class()["class_name"].tolist() == list(IMAGES.class_names)


def test_a_class_that_is_never_drawn_has_no_accuracy() -> None:
    pair = np.array([[0, 1]], np.int32)
    kept = Predictions(("a", "b", "c"), pair, pair, pair, np.ones((1, 2), np.float32))
    accuracy = Evaluation(np.array([2], np.uint16), 2, 0.0, kept).per_class()["accuracy"]
    assert accuracy.tolist()[:2] == [1, 1]
    assert np.isnan(accuracy[2])


def test_calibration_is_the_mean_distance_of_confidence_and_accuracy_in_bins() -> None:
    """Guo et al. 2017, equation 3, by hand: two queries of ten, one right; three in the upper half, two right."""
    confidence = np.array([[0.2, 0.4, 0.6, 0.8, 1.0]], np.float32)
    predicted = np.array([[0, 1, 0, 0, 1]], np.int32)
    kept = Predictions(
        ("a", "b"), np.arange(5, dtype=np.int32)[None], np.zeros((1, 5), np.int32), predicted, confidence
    )
    found = Evaluation(np.array([3], np.uint16), 5, 0.0, kept).calibration(2)
    assert found.edges.tolist() == [0, 0.5, 1]
    assert found.counts.tolist() == [2, 3]
    np.testing.assert_allclose(found.confidence, [0.3, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found.accuracy, [1 / 2, 2 / 3])
    assert found.expected_error == pytest.approx((2 * abs(0.5 - 0.3) + 3 * abs(2 / 3 - 0.8)) / 5)
    assert np.isnan(Evaluation(np.array([3], np.uint16), 5, 0.0, kept).calibration(10).accuracy[0])


def test_readouts_and_image_sets_are_evaluated_alike(method: Method, found: Evaluation) -> None:
    table = embed_all(method, IMAGES.images, "fp32")
    sampler = EpisodeSampler(IMAGES, SPEC, seed=3)
    kept = evaluate_readout(
        READOUTS.get("prototype")(), table, None, sampler, NUM_EPISODES, keep_predictions=True
    ).predictions
    assert kept is not None
    assert found.predictions is not None
    assert (kept.predicted == found.predictions.predicted).all()
    precision = choose_precision("auto", torch.device("cpu"))
    same = evaluate(method, sampler, NUM_EPISODES, precision, keep_predictions=True)
    again = fs.evaluate(method, IMAGES, way=4, shot=2, query=3, episodes=NUM_EPISODES, seed=3)
    assert (again.correct == same.correct).all()
    assert (again.confusion() == same.confusion()).all()
    assert repr(again).startswith(f"Evaluation({100 * same.accuracy:.2f} ± ")
    assert repr(again).endswith(" % over 25 episodes of 12 queries)")
    with pytest.raises(EpisodeError):
        fs.evaluate(method, IMAGES, way=500)


def test_where_only_counts_were_kept_it_says_how_to_keep_more(method: Method) -> None:
    counts = evaluate(method, EpisodeSampler(IMAGES, SPEC, seed=3), 2)
    for ask in (counts.per_class, counts.confusion, counts.calibration, counts.to_frame):
        with pytest.raises(UserError, match="keep_predictions=True"):
            ask()


def test_a_method_that_sees_the_whole_episode_keeps_predictions_too() -> None:
    method = toy_method("anil", {"batch_norm": "transductive"})
    found = fs.evaluate(method, IMAGES, way=4, shot=2, query=3, episodes=3)
    assert found.confusion().trace() == found.correct.sum()
    assert torch.is_grad_enabled()


def test_images_and_pairs_of_classes_are_counted(found: Evaluation) -> None:
    frame = found.to_frame()
    shares = found.per_image()
    assert len(shares) == len(IMAGES.images)
    expected = frame.groupby("image")["correct"].mean()
    assert shares[expected.index.to_numpy()] == pytest.approx(expected.to_numpy())
    assert np.isnan(shares).sum() == len(IMAGES.images) - frame["image"].nunique()
    wrong = frame[~frame["correct"]]
    pairs = Counter(tuple(sorted(pair)) for pair in zip(wrong["class_name"], wrong["predicted_name"], strict=True))
    confused = found.confused(3)
    assert [count for *_, count in confused] == [count for _, count in pairs.most_common(3)]
    assert all(pairs[tuple(sorted(pair))] == count for *pair, count in confused)
    assert len(found.confused(1000)) == len(pairs)
