"""Read-outs that look at all queries: against easyfsl, PyTorch's autograd and the papers' updates in loops."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewshot.models.encoders.torchvision_import import import_torchvision
from fewshot.models.methods.semi_supervised import SoftKMeansPrototypical
from fewshot.models.readouts import READOUTS, alpha_tim
from fewshot.models.readouts.alpha_tim import AlphaTIM, loss_slopes, strides, to_power
from fewshot.models.readouts.bd_cspn import BDCSPN, rectified
from fewshot.models.readouts.laplacian_shot import LaplacianShot, affinities
from fewshot.models.readouts.pt_map import PTMAP, map_estimate, transport
from fewshot.models.readouts.soft_kmeans import SoftKMeans
from fewshot.models.readouts.span import SpanWeights
from fewshot.models.readouts.tim import TIM
from fewshot.models.readouts.transductive_finetune import TransductiveFinetune
from toy_embeddings import toy_episodes

TRANSDUCTIVE = [name for name in READOUTS if READOUTS.get(name).transductive]


def unit_episodes(way: int = 5, shot: int = 2, num_query: int = 6, dim: int = 30, batch: int = 8) -> list[Tensor]:
    """Support, query and labels of classes that overlap; embeddings of length 1."""
    support, query, labels = toy_episodes(way, shot, num_query, dim, batch, spread=1.5)
    return [functional.normalize(support, dim=-1), functional.normalize(query, dim=-1), labels]


def easyfsl(name: str, support: Tensor, query: Tensor, **options: Any) -> tuple[Any, Tensor]:
    """easyfsl's classifier of one episode and what it answers."""
    import_torchvision()  # easyfsl imports it too; this one takes a torch it was not built for
    pytest.importorskip("easyfsl")
    way, shot, _ = support.shape
    classifier = getattr(importlib.import_module("easyfsl.methods"), name)(backbone=torch.nn.Identity(), **options)
    classifier.process_support_set(support.flatten(0, 1), torch.arange(way).repeat_interleave(shot))
    return classifier, classifier(query)


def test_all_read_outs_that_see_the_queries_are_there() -> None:
    expected = ["alpha-tim", "bd-cspn", "laplacian-shot", "pt-map", "soft-kmeans", "tim", "transductive-finetune"]
    assert expected == TRANSDUCTIVE


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_permuting_the_queries_permutes_the_answers(name: str) -> None:
    support, query, labels = unit_episodes()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    readout = READOUTS.get(name)()
    torch.testing.assert_close(readout.logits(support, query[:, order]), readout.logits(support, query)[:, order])


@pytest.mark.parametrize("name", [name for name in TRANSDUCTIVE if name != "transductive-finetune"])
def test_queries_in_clusters_help(name: str) -> None:
    """One support image lies aside of its class; the queries lie together. (25 steps of 5e-5 move next to nothing.)"""
    support, query, labels = toy_episodes(4, 1, 15, 12, 80, spread=0.7)
    table = functional.normalize(torch.cat([support.flatten(1, 2), query], dim=1), dim=-1)
    support, query = table[:, :4].unsqueeze(2), table[:, 4:]
    accuracy = float((READOUTS.get(name)().logits(support, query).argmax(-1) == labels).double().mean())
    alone = float((READOUTS.get("prototype")().logits(support, query).argmax(-1) == labels).double().mean())
    assert accuracy > alone + 0.02


def test_bd_cspn_is_its_updates_in_loops() -> None:
    support, query, _ = unit_episodes()
    found, moved = rectified(support, query, 10.0)
    for episode in range(len(support)):
        known, asked = support[episode].flatten(0, 1).numpy(), query[episode].numpy()
        asked = asked + known.mean(0) - asked.mean(0)
        means = support[episode].numpy().mean(1)
        drawn: list[list[np.ndarray]] = [[] for _ in means]
        for row, image in enumerate([*known, *asked]):
            cosines = np.array([image @ mean / np.linalg.norm(image) / np.linalg.norm(mean) for mean in means])
            label = row // support.shape[2] if row < len(known) else int(cosines.argmax())
            drawn[label].append(np.exp(10 * cosines[label]) / np.exp(10 * cosines).sum() * image)
        expected = torch.from_numpy(np.stack([np.mean(images, axis=0) for images in drawn]))
        torch.testing.assert_close(found[episode], expected)
        torch.testing.assert_close(moved[episode], torch.from_numpy(asked))


@pytest.mark.parametrize(
    ("name", "readout"), [("BDCSPN", BDCSPN(1.0)), ("TransductiveFinetuning", TransductiveFinetune())]
)
def test_nearly_all_answers_are_those_of_easyfsl(name: str, readout: Any) -> None:
    """It weighs images otherwise (BD-CSPN), and takes distances where the paper's comparison takes squares."""
    support, query, _ = unit_episodes(batch=20)
    found = readout.logits(support, query).argmax(-1)
    theirs = [easyfsl(name, *episode)[1].argmax(-1) for episode in zip(support, query, strict=True)]
    assert float((found == torch.stack(theirs)).double().mean()) > 0.95


def test_soft_kmeans_is_the_semi_supervised_rule_with_the_queries_unlabeled() -> None:
    support, query, _ = toy_episodes()
    rule = SoftKMeansPrototypical.__new__(SoftKMeansPrototypical)
    torch.testing.assert_close(SoftKMeans().logits(support, query), rule.logits(support, query, query))


def test_soft_kmeans_of_embeddings_next_to_nothing_does_not_guess() -> None:
    """At 1e-12 as at 1e-30 all queries belong to all classes alike; squares of 1e-30 are 0 in single precision."""
    support, query, _ = toy_episodes()
    table, answers = torch.cat([support.flatten(1, 2), query], dim=1), []
    for scale in (1e-12, 1e-30):
        rows = SoftKMeans().prepare(table.flatten(0, 1) * scale).view(*table.shape)
        shown = torch.unflatten(rows[:, : -query.shape[1]], 1, support.shape[1:3])
        answers.append(SoftKMeans().logits(shown, rows[:, -query.shape[1] :]).argmax(-1))
    assert torch.equal(answers[0], answers[1])
    assert len(torch.unique(answers[1])) > 1


@pytest.mark.parametrize("neighbors", [1, 2, 4])
def test_laplacian_shot_answers_as_easyfsl_from_the_same_prototypes(neighbors: int) -> None:
    support, query, _ = unit_episodes()
    support, query = support.float(), query.float()  # easyfsl's affinities are in single precision
    found = LaplacianShot(0.7, neighbors).logits(support, query)
    prototypes, moved = rectified(support, query, 10.0)
    for episode in range(len(support)):
        classifier, _ = easyfsl(
            "LaplacianShot", support[episode], query[episode], knn=neighbors + 1, lambda_regularization=0.7
        )
        affinity = classifier.compute_pairwise_affinities(moved[episode])
        assert torch.equal(affinities(moved, neighbors)[episode], affinity)
        expected = classifier.bound_updates(torch.cdist(moved[episode], prototypes[episode]) ** 2, affinity)
        torch.testing.assert_close(found[episode].softmax(-1), expected, rtol=0, atol=5e-3)  # it stops early
        assert torch.equal(found[episode].argmax(-1), expected.argmax(-1))


def test_the_weight_of_the_laplacian_is_veilleuxs_for_each_shot() -> None:
    for shot, weight in ((1, 0.7), (2, 0.3), (5, 0.3)):
        support, query, _ = unit_episodes(shot=shot)
        assert torch.equal(LaplacianShot().logits(support, query), LaplacianShot(weight).logits(support, query))


def test_pt_map_answers_as_easyfsl_from_the_same_embeddings() -> None:
    support, query, _ = unit_episodes()
    support, query = support.abs().sqrt(), query.abs().sqrt()  # easyfsl transforms, but brings nothing to unit length
    found = map_estimate(support, query, 10.0, 0.2, 10)
    for episode in range(len(support)):
        _, expected = easyfsl("PTMAP", support[episode] ** 2, query[episode] ** 2)
        torch.testing.assert_close(found[episode].exp(), expected, rtol=0, atol=1e-3)
        assert torch.equal(found[episode].argmax(-1), expected.argmax(-1))


def test_the_plan_gives_every_class_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 5 * torch.randn(3, 4, 12, generator=generator, dtype=torch.float64)
    plan = transport(scores)[0].exp()
    torch.testing.assert_close(plan.sum(1), torch.ones(3, 12, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(plan.sum(2), torch.full((3, 4), 3.0, dtype=torch.float64), rtol=0, atol=1e-4)
    ratios = plan.log() - scores  # of a scaling of rows and columns: a sum of both
    torch.testing.assert_close(ratios - ratios[:, :1], (ratios - ratios[:, :1])[..., :1].expand_as(ratios))


def scaled_in_turns(scores: Tensor, rounds: int) -> Tensor:
    """Sinkhorn's plan as Cuturi writes it."""
    plan, share = scores.double().exp(), scores.shape[2] / scores.shape[1]
    for _ in range(rounds):
        plan = plan * share / plan.sum(2, keepdim=True)
        plan = plan / plan.sum(1, keepdim=True)
    return plan


def test_the_plan_is_that_of_rows_and_columns_scaled_in_turns() -> None:
    scores = 4 * torch.randn(6, 5, 30, generator=torch.Generator().manual_seed(1))
    expected = scaled_in_turns(scores, 3000)
    for start in (None, torch.randn(6, 5, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)):
        torch.testing.assert_close(transport(scores, start)[0].exp(), expected, rtol=0, atol=1e-5)


def test_clusters_far_apart_get_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """One query too many is near a class: its plan is not found in 50 rounds of scaling, in 20 steps it is."""
    labels = torch.tensor([0] * 6 + [1] * 4 + [2] * 5)
    scores = 20 * functional.one_hot(labels, 3).T[None] + torch.rand(
        1, 3, 15, generator=torch.Generator().manual_seed(0)
    )
    equal = torch.full((1, 3), 5.0, dtype=torch.float64)
    assert (scaled_in_turns(scores, 50).sum(2) - equal).abs().max() > 0.1
    monkeypatch.setattr("fewshot.models.readouts.pt_map._MOST_STEPS", 20)
    torch.testing.assert_close(transport(scores)[0].exp().sum(2), equal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sharpness", [1e3, 1e6])
def test_a_plan_without_overlap_is_finite(sharpness: float) -> None:
    """Each query falls to one class whatever the factors are, within reach of double precision."""
    support, query, labels = unit_episodes()
    found = map_estimate(support, query, sharpness, 0.2, 3)
    assert bool(found.amax(-1).isfinite().all())
    assert float((found.argmax(-1) == labels).double().mean()) > 0.5


def test_pt_map_brings_powers_to_unit_length_and_takes_means_away() -> None:
    rows = PTMAP().prepare(torch.tensor([[4.0, 9.0], [0.0, -16.0]]))
    torch.testing.assert_close(rows, torch.tensor([[2.0, 3.0], [0.0, -4.0]]) / torch.tensor([[13**0.5], [4.0]]))
    support, query, _ = unit_episodes()
    torch.testing.assert_close(PTMAP().logits(support, query + 0.3), PTMAP().logits(support, query))


def test_weights_in_the_span_are_weights() -> None:
    support, query, _ = unit_episodes()
    kept, images = SpanWeights.of_means(support, query), torch.cat([support.flatten(1, 2), query], dim=1)
    means = support.mean(2)
    torch.testing.assert_close(kept.coefficients @ images, means)
    own = (images - images[:, :1]).square().sum(-1)[:, None] / 2
    halves = own - ((images[:, None] - means[:, :, None]) ** 2).sum(-1) / 2
    torch.testing.assert_close(kept.scores(), halves)


def of_squares(weights: Tensor, images: Tensor) -> Tensor:
    """Log-probabilities (images, way) of ``-15 / 2 * ||image - weights||^2``."""
    return (-7.5 * ((images[:, None] - weights[None]) ** 2).sum(-1)).log_softmax(-1)


def adm(support: Tensor, query: Tensor, steps: int) -> Tensor:
    """TIM-ADM of one episode as the authors' code writes it, weights of the terms 0.1, 1 and 0.1."""
    way, shot, _ = support.shape
    images, true = support.flatten(0, 1), torch.eye(way, dtype=support.dtype).repeat_interleave(shot, dim=0)
    weights, balance = support.mean(1), len(images) / len(query)
    for _ in range(steps):
        of_support, of_query = of_squares(weights, images).exp(), of_squares(weights, query).exp()
        sharp = of_query**1.1
        assigned = sharp / sharp.sum(0, keepdim=True) ** 0.5
        assigned = assigned / assigned.sum(1, keepdim=True)
        share = 0.1 / 1.1
        moved = share * (true.T @ images + weights * of_support.sum(0)[:, None] - of_support.T @ images)
        moved = moved + balance * (assigned.T @ query + weights * of_query.sum(0)[:, None] - of_query.T @ query)
        weights = moved / (share * true.sum(0) + balance * assigned.sum(0))[:, None]
    return of_squares(weights, query)


def test_tim_takes_the_steps_of_the_authors_code() -> None:
    support, query, _ = unit_episodes()
    for steps in (1, 150):
        found = TIM(steps=steps).logits(support, query).log_softmax(-1)
        expected = torch.stack([adm(*episode, steps) for episode in zip(support, query, strict=True)])
        torch.testing.assert_close(found, expected)


def mutual_information(weights: Tensor, support: Tensor, query: Tensor, alpha: float) -> Tensor:
    """alpha-TIM's loss of one episode."""
    way, shot, _ = support.shape
    known = of_squares(weights, support.flatten(0, 1))
    answers = of_squares(weights, query).exp()
    cross_entropy = functional.nll_loss(known, torch.arange(way).repeat_interleave(shot))
    of_mean = (1 - (answers.mean(0) ** alpha).sum()) / (alpha - 1)
    return cross_entropy - of_mean + ((1 - (answers**alpha).sum(1)) / (alpha - 1)).mean()


def confident(weights: Tensor, support: Tensor, query: Tensor) -> Tensor:
    """The loss of transductive fine-tuning on one episode."""
    way, shot, _ = support.shape
    answers = of_squares(weights, query)
    known = of_squares(weights, support.flatten(0, 1))
    return (
        functional.nll_loss(known, torch.arange(way).repeat_interleave(shot)) - (answers.exp() * answers).sum(1).mean()
    )


def by_adam(loss: Callable[..., Tensor], support: Tensor, query: Tensor, rate: float, steps: int) -> Tensor:
    weights = support.mean(1).clone().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss(weights, support, query))
        optimizer.step()
    return of_squares(weights, query).detach()


def test_transductive_finetuning_takes_the_steps_of_pytorchs_adam() -> None:
    support, query, _ = unit_episodes()
    for rate, steps in ((5e-5, 25), (1e-2, 40)):
        found = TransductiveFinetune(rate, steps).logits(support, query).log_softmax(-1)
        expected = [by_adam(confident, *episode, rate, steps) for episode in zip(support, query, strict=True)]
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0, 4.0, 7.0, 8.0])
def test_alpha_tims_slopes_are_those_of_its_loss(alpha: float) -> None:
    support, query, _ = unit_episodes(batch=1)
    images, way, shot = torch.cat([support.flatten(1, 2), query], dim=1)[0], support.shape[1], support.shape[2]
    weights = support.mean(2)[0].requires_grad_()
    (expected,) = torch.autograd.grad(mutual_information(weights, support[0], query[0], alpha), weights)
    true = torch.eye(way, dtype=support.dtype).repeat_interleave(shot, dim=1)
    slopes = loss_slopes(of_squares(weights.detach(), images).exp().T[None], true, alpha)[0]
    gradient = 15 * (slopes @ images - slopes.sum(-1, keepdim=True) * weights.detach())
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("alpha", [1.5, 2.0, 7.0])
def test_alpha_tim_takes_adams_steps_with_one_mean_square_for_each_class(alpha: float) -> None:
    support, query, _ = unit_episodes(batch=3)
    found = AlphaTIM(alpha, 1e-2, 60).logits(support, query).log_softmax(-1)
    for episode in range(3):
        weights = support[episode].mean(1).requires_grad_()
        mean, square = torch.zeros_like(weights), torch.zeros(len(weights), 1, dtype=weights.dtype)
        for step in range(1, 61):
            loss = mutual_information(weights, support[episode], query[episode], alpha)
            (slope,) = torch.autograd.grad(loss, weights)
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope.square().mean(1, keepdim=True)
            root = (square / (1 - 0.999**step)).sqrt() + 1e-8
            weights = (weights - 1e-2 / (1 - 0.9**step) * mean / root).detach().requires_grad_()
        torch.testing.assert_close(found[episode], of_squares(weights, query[episode]).detach())


def test_alpha_tims_later_steps_are_taken_five_at_a_time() -> None:
    taken = strides(1000, 1e-4)
    assert taken[:40] == [1] * 40
    assert taken[40:50] == [2] * 10
    assert (max(taken), sum(taken)) == (5, 1000)
    assert (max(strides(1000, 2e-4)), max(strides(1000, 1e-3)), strides(41, 1e-4)[-1]) == (2, 1, 1)


@pytest.mark.parametrize(("shot", "alpha"), [(1, 2.0), (5, 7.0)])
def test_alpha_tims_later_steps_together_end_where_they_end_one_by_one(
    shot: int, alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    support, query, _ = unit_episodes(shot=shot, num_query=15, batch=8)
    together = AlphaTIM(alpha, steps=400).logits(support, query).exp()
    monkeypatch.setattr(alpha_tim, "strides", lambda steps, learning_rate: [1] * steps)
    alone = AlphaTIM(alpha, steps=400).logits(support, query).exp()
    without_last = AlphaTIM(alpha, steps=396).logits(support, query).exp()
    apart, of_four_steps = (together - alone).abs().mean(), (without_last - alone).abs().mean()
    assert 0 < apart < of_four_steps
    assert float((together.argmax(-1) == alone.argmax(-1)).double().mean()) >= 0.998


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0, 6.0, 11.0, 65.0])
def test_a_whole_power_is_made_of_products(power: float) -> None:
    numbers = torch.rand(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(to_power(numbers, power), numbers**power)


@pytest.mark.parametrize(("shot", "alpha"), [(1, 2.0), (5, 7.0)])
def test_alpha_tim_ends_near_where_adam_ends(shot: int, alpha: float) -> None:
    """One mean square for each class, where PyTorch has one for each number: nearly the same answers, lower loss."""
    support, query, _ = unit_episodes(shot=shot, batch=3)
    found = AlphaTIM(steps=300, learning_rate=1e-3).logits(support, query)

    def loss(weights: Tensor, support: Tensor, query: Tensor) -> Tensor:
        return mutual_information(weights, support, query, alpha)

    theirs = [by_adam(loss, *episode, 1e-3, 300) for episode in zip(support, query, strict=True)]
    assert float((found.argmax(-1) == torch.stack(theirs).argmax(-1)).double().mean()) > 0.9
    assert torch.equal(found, AlphaTIM(alpha, 1e-3, 300).logits(support, query))
