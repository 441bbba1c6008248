"""Prototypical Networks against the formulas of Snell et al. 2017, written as plain loops over Python floats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from episodes.spec import EpisodeSpec
from fewshot.models.encoders.base import Encoder
from fewshot.models.factory import build_method
from fewshot.models.methods import METHODS
from fewshot.models.options import OptionError
from toy_classes import toy_batch, toy_method


def embeddings(shot: int = 3, dim: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    support = torch.randn(2, 5, shot, dim, generator=generator, dtype=torch.float64)
    return support, torch.randn(2, 20, dim, generator=generator, dtype=torch.float64)


def prototype(images: list[list[float]]) -> list[float]:
    """Equation 1: the mean of the embedded support images of a class."""
    return [sum(coordinates) / len(images) for coordinates in zip(*images, strict=True)]


def squared_distance(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def minus_distances(support: Tensor, query: Tensor) -> Tensor:
    """The exponents of equation 2 for one episode: support (way, shot, dim), query (queries, dim)."""
    prototypes = [prototype(images) for images in support.tolist()]
    rows = [[-squared_distance(point, center) for center in prototypes] for point in query.tolist()]
    return torch.tensor(rows, dtype=torch.float64)


def loss_of_algorithm_1(support: Tensor, query: Tensor, labels: list[int]) -> float:
    """``J``: over all queries the mean of ``d(x, c_k) + log sum_k' exp(-d(x, c_k'))``."""
    prototypes = [prototype(images) for images in support.tolist()]
    total = 0.0
    for point, label in zip(query.tolist(), labels, strict=True):
        distances = [squared_distance(point, center) for center in prototypes]
        nearest = min(distances)
        log_sum = -nearest + math.log(sum(math.exp(nearest - distance) for distance in distances))
        total += distances[label] + log_sum
    return total / len(labels)


@pytest.mark.parametrize("shot", [1, 3])
def test_logits_are_minus_the_squared_distances_to_the_class_means(shot: int) -> None:
    support, query = embeddings(shot)
    logits = toy_method().logits(support, query)
    for episode in range(2):
        expected = minus_distances(support[episode], query[episode])
        torch.testing.assert_close(logits[episode], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shot", [1, 3])
def test_loss_is_that_of_algorithm_1(shot: int) -> None:
    """With the encoder in float64, over two episodes of real pixels, batch norm in training mode."""
    method = toy_method(width=16).double().train()
    batch = toy_batch(EpisodeSpec(5, shot, 3), count=2)
    support, query, _ = method.embed_episode(batch)
    by_hand = [loss_of_algorithm_1(support[i], query[i], batch.labels[i].tolist()) for i in range(2)]
    loss = method.loss(batch)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-6)


def test_the_distance_is_squared_and_not_its_root() -> None:
    support = torch.tensor([[[[0.0, 0.0]], [[6.0, 8.0]]]])
    logits = toy_method().logits(support, torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    assert logits.tolist() == [[[-25.0, -25.0], [0.0, -100.0]]]


def test_prototypes_predict_as_the_nearest_centroid_of_scikit_learn() -> None:
    support, query = embeddings(shot=4)
    logits = toy_method().logits(support, query)
    for episode in range(2):
        labels = np.repeat(np.arange(5), 4)
        theirs = NearestCentroid().fit(support[episode].flatten(0, 1).numpy(), labels)
        assert logits[episode].argmax(-1).tolist() == theirs.predict(query[episode].numpy()).tolist()
        ours = toy_method().logits(support[episode : episode + 1], torch.from_numpy(theirs.centroids_)[None])
        assert ours[0].diagonal().tolist() == pytest.approx([0.0] * 5, abs=1e-12)


def test_one_shot_is_the_nearest_support_image() -> None:
    support, query = embeddings(shot=1)
    logits = toy_method().logits(support, query)
    expected = torch.cdist(query, support[:, :, 0]).argmin(-1)
    assert torch.equal(logits.argmax(-1), expected)


def test_cosine_compares_directions_as_in_figure_2_of_the_paper() -> None:
    support, query = embeddings()
    logits = toy_method(options={"distance": "cosine"}).logits(support, query)
    for episode in range(2):
        for row, point in enumerate(query[episode].tolist()):
            for column, images in enumerate(support[episode].tolist()):
                center = prototype(images)
                inner = sum(x * y for x, y in zip(point, center, strict=True))
                lengths = math.hypot(*point) * math.hypot(*center)
                assert logits[episode, row, column].item() == pytest.approx(inner / lengths, rel=1e-6)


def test_it_adds_no_parameter_to_its_encoder() -> None:
    method = toy_method()
    assert [*method.parameters()] == [*method.encoder.parameters()]
    assert sum(p.numel() for p in build_method("proto", {}, "conv4", {}, (1, 28, 28), seed=0).parameters()) == 111_680


def test_it_is_inductive_uses_no_unlabeled_images_and_names_its_paper() -> None:
    method_class = METHODS.get("proto")
    assert not method_class.transductive
    assert not method_class.uses_unlabeled
    assert "Snell" in method_class.source


def test_an_unknown_distance_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(OptionError, match=r"'euclidian'\. Did you mean 'euclidean'\? Valid: cosine, euclidean"):
        toy_method(options={"distance": "euclidian"})


def test_shifting_and_turning_all_embeddings_changes_no_logit() -> None:
    """Euclidean distances know no origin and no axes: a check of the formula that shares no code with it."""
    support, query = embeddings()
    rotation, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    moved = toy_method().logits(support @ rotation + 3, query @ rotation + 3)
    torch.testing.assert_close(moved, toy_method().logits(support, query), rtol=1e-9, atol=1e-9)


def test_the_encoder_is_the_only_thing_it_trains() -> None:
    assert isinstance(toy_method().encoder, Encoder)
    assert {name.partition(".")[0] for name, _ in toy_method().named_parameters()} == {"encoder"}
