"""Read-outs: what holds for every one of them, and those that learn nothing against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewshot.models.readouts import READOUTS
from fewshot.models.readouts.soft_kmeans import SoftKMeans
from toy_embeddings import toy_episodes

CENTERED = ("simpleshot", "bd-cspn", "laplacian-shot")
UNIT_LENGTH = ("logistic", "svm", "pt-map", "tim", "alpha-tim", "transductive-finetune")

every_readout = pytest.mark.parametrize("name", list(READOUTS))


def logits_of(name: str, support: Tensor, query: Tensor) -> Tensor:
    """The rule in the precision of the embeddings, prepared here as the rule's paper says."""
    if name in CENTERED:
        center = torch.linspace(-0.3, 0.6, support.shape[-1], dtype=support.dtype)
        support, query = support - center, query - center
    if name in CENTERED + UNIT_LENGTH:
        support, query = functional.normalize(support, dim=-1), functional.normalize(query, dim=-1)
    return READOUTS.get(name)().logits(support, query)


def test_all_that_the_issue_names_are_there() -> None:
    assert list(READOUTS) == [
        "alpha-tim",
        "bd-cspn",
        "cosine",
        "finetune",
        "laplacian-shot",
        "logistic",
        "nearest-neighbor",
        "prototype",
        "pt-map",
        "simpleshot",
        "soft-kmeans",
        "svm",
        "tim",
        "transductive-finetune",
    ]


@every_readout
def test_the_flag_transductive_says_whether_queries_see_each_other(name: str) -> None:
    """All other queries are replaced; the first query's logits move, or do not."""
    assert sees_other_queries(name) == READOUTS.get(name).transductive


def test_a_readout_that_looks_at_all_queries_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its author says of it."""

    class Silent(SoftKMeans):
        transductive = False

    monkeypatch.setitem(READOUTS._entries, "silent", Silent)
    assert sees_other_queries("silent")


def sees_other_queries(name: str) -> bool:
    support, query, _ = toy_episodes()
    others = torch.cat([query[:, :1], 9 * query[:, 1:].flip(2)], dim=1)
    return not torch.allclose(logits_of(name, support, others)[:, 0], logits_of(name, support, query)[:, 0])


@every_readout
def test_an_episode_is_classified_alone(name: str) -> None:
    support, query, _ = toy_episodes()
    together = logits_of(name, support, query)
    torch.testing.assert_close(logits_of(name, support[1:2], query[1:2]), together[1:2])


@every_readout
def test_permuting_the_classes_permutes_the_answers(name: str) -> None:
    """Baseline's layer starts at random weights, so it need only answer the same class."""
    support, query, _ = toy_episodes(spread=0.2)
    order = torch.tensor([2, 0, 3, 1])
    usual, permuted = logits_of(name, support, query), logits_of(name, support[:, order], query)
    if name == "finetune":
        assert torch.equal(order[permuted.argmax(-1)], usual.argmax(-1))
    else:
        torch.testing.assert_close(permuted, usual[..., order])


@every_readout
def test_classes_far_apart_are_told_apart(name: str) -> None:
    support, query, labels = toy_episodes(dim=20, spread=0.1)
    assert (logits_of(name, support, query).argmax(-1) == labels).all()


@every_readout
def test_embeddings_of_noise_are_classified_by_chance(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(300, 4, 1, 5, generator=generator), torch.randn(300, 8, 5, generator=generator)
    labels = torch.arange(4).repeat_interleave(2)
    accuracy = (logits_of(name, support, query).argmax(-1) == labels).double().mean()
    assert abs(float(accuracy) - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 2400)


@every_readout
def test_equal_embeddings_give_finite_logits(name: str) -> None:
    support, query, _ = toy_episodes()
    assert logits_of(name, torch.zeros_like(support), torch.zeros_like(query)).isfinite().all()
    assert logits_of(name, torch.ones_like(support), torch.ones_like(query)).isfinite().all()


@every_readout
def test_one_shot_and_one_query_are_enough(name: str) -> None:
    support, query, _ = toy_episodes(way=2, shot=1, num_query=1, batch=1)
    assert logits_of(name, support, query).shape == (1, 2, 2)


@every_readout
def test_every_read_out_says_what_it_is_and_where_it_is_from(name: str) -> None:
    readout = READOUTS.get(name)
    assert readout.title
    assert any(character.isdigit() for character in readout.source)
    assert readout().peak_elements(5, 5, 75, 64) > 100 * 64


def squared(left: Tensor, right: Tensor) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(left, right, strict=True))


def unit(vector: Tensor) -> Tensor:
    return vector / math.sqrt(sum(float(number) ** 2 for number in vector))


def mean(vectors: Tensor) -> Tensor:
    return torch.stack([sum(column) / len(vectors) for column in vectors.T])


def looped(name: str, support: Tensor, query: Tensor, center: Tensor) -> list[list[float]]:
    """Logits of one episode, a query and a class at a time."""
    rows = []
    for image in query:
        row = []
        for images in support:
            if name == "prototype":
                row.append(-squared(image, mean(images)))
            elif name == "cosine":
                row.append(float(unit(image) @ unit(mean(images))) - 1)
            elif name == "nearest-neighbor":
                row.append(-min(squared(image, other) for other in images))
            else:
                centroid = mean(torch.stack([unit(other - center) for other in images]))
                row.append(-squared(unit(image - center), centroid))
        rows.append(row)
    return rows


@pytest.mark.parametrize("name", ["prototype", "cosine", "simpleshot", "nearest-neighbor"])
def test_what_learns_nothing_is_its_formula_in_loops(name: str) -> None:
    support, query, _ = toy_episodes()
    center = torch.linspace(-0.3, 0.6, support.shape[-1], dtype=support.dtype)
    found = logits_of(name, support, query)
    expected = [looped(name, *episode, center) for episode in zip(support, query, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_at_one_shot_the_nearest_neighbor_is_the_prototype() -> None:
    support, query, _ = toy_episodes(shot=1)
    torch.testing.assert_close(logits_of("nearest-neighbor", support, query), logits_of("prototype", support, query))


def test_simpleshot_without_a_mean_of_the_training_images_is_refused() -> None:
    with pytest.raises(ValueError, match="mean embedding of the training images"):
        READOUTS.get("simpleshot")().prepare(torch.eye(4))
