"""Read-outs that are fitted to each support: against scikit-learn, and against PyTorch's own SGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.readouts.base import UnfitEmbeddingsError
from fewshot.models.readouts.linear import LinearSVM, Logistic
from fewshot.models.readouts.sgd import Finetune
from toy_embeddings import toy_episodes

SETTINGS = [(4, 3, 6), (5, 1, 30), (5, 5, 8), (10, 5, 40)]
every_setting = pytest.mark.parametrize(("way", "shot", "dim"), SETTINGS)


def unit_arrays(support: Tensor, query: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One episode for scikit-learn: images and labels of the support, images of the queries."""
    way, shot, _ = support.shape
    images = functional.normalize(support, dim=-1).flatten(0, 1).numpy()
    return images, np.repeat(np.arange(way), shot), functional.normalize(query, dim=-1).numpy()


def unit_episodes(way: int, shot: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Support and query as the linear read-outs are given them: of length 1."""
    support, query, _ = toy_episodes(way, shot, dim=dim, seed=seed)
    return functional.normalize(support, dim=-1), functional.normalize(query, dim=-1)


@every_setting
@pytest.mark.parametrize("inverse_penalty", [1.0, 3.0])
def test_logistic_is_that_of_scikit_learn(way: int, shot: int, dim: int, inverse_penalty: float) -> None:
    support, query = unit_episodes(way, shot, dim)
    found = Logistic(inverse_penalty).logits(support, query).log_softmax(-1)
    for index in range(len(support)):
        images, labels, queries = unit_arrays(support[index], query[index])
        reference = LogisticRegression(C=inverse_penalty, tol=1e-10, max_iter=10_000).fit(images, labels)
        expected = torch.from_numpy(reference.predict_log_proba(queries))
        torch.testing.assert_close(found[index], expected, rtol=0, atol=2e-5)
        assert torch.equal(found[index].argmax(-1), expected.argmax(-1))


@every_setting
@pytest.mark.parametrize("inverse_penalty", [1.0, 3.0])
def test_svm_is_that_of_scikit_learn(way: int, shot: int, dim: int, inverse_penalty: float) -> None:
    support, query = unit_episodes(way, shot, dim)
    found = LinearSVM(inverse_penalty, steps=400).logits(support, query)
    for index in range(len(support)):
        images, labels, queries = unit_arrays(support[index], query[index])
        reference = LinearSVC(C=inverse_penalty, tol=1e-10, max_iter=200_000, random_state=0).fit(images, labels)
        expected = torch.from_numpy(reference.decision_function(queries))
        torch.testing.assert_close(found[index], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("readout", [Logistic, LinearSVM])
def test_more_steps_move_nothing_and_single_precision_is_enough(readout: type[Logistic] | type[LinearSVM]) -> None:
    support, query = unit_episodes(20, 5, 64, seed=1)
    found = readout().logits(support, query)
    scale = float(found.abs().max())
    assert float((readout(steps=400).logits(support, query) - found).abs().max()) < 1e-5 * scale
    assert float((readout(steps=2).logits(support, query) - found).abs().max()) > 1e-3 * scale
    single = readout().logits(support.float(), query.float())
    assert float((single - found).abs().max()) < 1e-4 * scale


def test_the_bias_of_logistic_regression_is_free() -> None:
    """At the optimum the derivative by the bias is zero: the probabilities of each class sum to its images."""
    support, _ = unit_episodes(4, 5, 3)
    probabilities = Logistic().logits(support, support.flatten(1, 2)).softmax(-1)
    torch.testing.assert_close(probabilities.sum(1), torch.full((len(support), 4), 5.0, dtype=torch.float64))


def trained_by_pytorch(readout: Finetune, support: Tensor, query: Tensor) -> Tensor:
    """One episode by torch.nn.Linear and torch.optim.SGD, from the same weights and in the same order."""
    way, shot, dim = support.shape
    images, labels = support.flatten(0, 1), torch.arange(way).repeat_interleave(shot)
    weights, bias, orders = readout.draw(way, way * shot, dim)
    layer = nn.Linear(dim, way, dtype=torch.float64)
    layer.load_state_dict({"weight": weights.double(), "bias": bias.double()})
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3)
    for order in orders:
        for rows in order.split(4):
            loss = functional.cross_entropy(layer(images[rows]), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    logits: Tensor = layer(query).detach()
    return logits


@pytest.mark.parametrize(("way", "shot"), [(5, 1), (4, 3)])
def test_finetune_takes_the_steps_of_pytorchs_sgd(way: int, shot: int) -> None:
    support, query, _ = toy_episodes(way, shot, dim=7, batch=2)
    readout = Finetune()
    found = readout.logits(support, query)
    for index in range(len(support)):
        expected = trained_by_pytorch(readout, support[index], query[index])
        torch.testing.assert_close(found[index], expected, rtol=1e-9, atol=1e-9)


def test_finetune_sees_every_image_once_in_a_pass_and_draws_by_its_seed_alone() -> None:
    weights, bias, orders = Finetune().draw(5, 25, 64)
    assert orders.shape == (100, 25)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(25).expand(100, 25))
    assert float(weights.abs().max()) <= 1 / 8
    assert float(bias.abs().max()) <= 1 / 8
    torch.manual_seed(3)
    assert torch.equal(Finetune().draw(5, 25, 64)[0], weights)
    assert not torch.equal(Finetune(seed=1).draw(5, 25, 64)[0], weights)


def test_more_passes_of_finetune_fit_the_support_better() -> None:
    support, _, _ = toy_episodes()
    own = torch.arange(4).repeat_interleave(3).expand(len(support), -1)
    losses = [
        float(
            functional.cross_entropy(
                Finetune(passes).logits(support, support.flatten(1, 2)).flatten(0, 1), own.flatten()
            )
        )
        for passes in (1, 10, 100)
    ]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (1e3, 0.0), (1.0, 1e3)])
def test_embeddings_of_which_steps_of_a_fixed_size_make_one_class_are_refused(scale: float, offset: float) -> None:
    """All queries fell to one class: 20.00 % of five, and nothing said why."""
    support, query, _ = toy_episodes(5, 2, 8, 24, 10)
    table = torch.cat([support.flatten(1, 2), query], dim=1).flatten(0, 1)
    assert torch.equal(Finetune().prepare(table), table.float())
    with pytest.raises(UnfitEmbeddingsError, match="steps of a fixed size"):
        Finetune().prepare(table * scale + offset)
