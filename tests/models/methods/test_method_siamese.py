"""Siamese networks against the formulas of their papers, written as plain loops over Python floats."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.methods.base import UntrainedError
from fewshot.models.methods.siamese import PairMethod, Siamese, SiameseContrastive, SiameseCosine, same_class
from fewshot.training.optimizers import optimizer_for
from fewshot.training.step import train_step
from toy_classes import QUICK, constant_set, toy_batch, toy_method, toy_set

Vector = list[float]
MODELS = ("siamese", "siamese-contrastive", "siamese-cosine")


def siamese(model: str = "siamese", **options: Any) -> PairMethod:
    """Over an encoder of 8 numbers, in float64."""
    method = toy_method(model, options).double()
    assert isinstance(method, PairMethod)
    return method


def embeddings(shot: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(2, 4, shot, 8, generator=generator, dtype=torch.float64)
    return support, torch.randn(2, 6, 8, generator=generator, dtype=torch.float64)


def score_by_loops(method: PairMethod, a: Vector, b: Vector) -> float:
    """How alike a pair is, each method by its own formula."""
    if isinstance(method, Siamese):
        weights: Vector = method.weigh.weight[0].tolist()
        return sum(w * abs(x - y) for w, x, y in zip(weights, a, b, strict=True)) + method.weigh.bias.item()
    if isinstance(method, SiameseContrastive):
        return -math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    assert isinstance(method, SiameseCosine)
    inner = sum(x * y for x, y in zip(a, b, strict=True))
    scale, shift = method.scale.item(), method.shift.item()
    return scale * inner / (math.hypot(*a) * math.hypot(*b)) + shift


def loss_by_loops(method: PairMethod, score: float, same: bool) -> float:
    """Cross-entropy of the probability that the two are alike; or Hadsell's loss, Y = 1 for two of one class."""
    if isinstance(method, SiameseContrastive):
        return score**2 if same else max(method.margin + score, 0.0) ** 2
    probability = 1 / (1 + math.exp(-score))
    return -math.log(probability) if same else -math.log(1 - probability)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shot", [1, 3])
def test_a_query_takes_the_class_whose_support_scores_highest(model: str, shot: int) -> None:
    method, (support, query) = siamese(model), embeddings(shot)
    logits = method.logits(support, query)
    for episode in range(2):
        for row, point in enumerate(query[episode].tolist()):
            best = [
                max(score_by_loops(method, point, image) for image in images) for images in support[episode].tolist()
            ]
            assert logits[episode, row].tolist() == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_one_image_that_is_alike_outweighs_others_that_are_not(model: str) -> None:
    """Class 1 holds the query itself among strangers; class 0 is near on average."""
    method = siamese(model)
    if isinstance(method, Siamese):
        nn.init.constant_(method.weigh.weight, -1.0)
    query = torch.eye(8, dtype=torch.float64)[:1]
    near = (query + 0.5).expand(3, 8)
    support = torch.stack([near, torch.cat([query, -10 * query, -10 * query])])
    assert method.logits(support[None], query[None]).argmax().item() == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shot", [1, 2])
def test_the_loss_weighs_pairs_of_one_class_like_all_others_together(model: str, shot: int) -> None:
    """With the encoder in float64, over two episodes of real pixels: every query with every support image."""
    method = siamese(model).train()
    batch = toy_batch(EpisodeSpec(4, shot, 3), count=2)
    support, query, _ = method.embed_episode(batch)
    losses: dict[bool, list[float]] = {True: [], False: []}
    for episode in range(2):
        for point, label in zip(query[episode].tolist(), batch.labels[episode].tolist(), strict=True):
            for column, images in enumerate(support[episode].tolist()):
                for image in images:
                    same = column == label
                    losses[same].append(loss_by_loops(method, score_by_loops(method, point, image), same))
    assert len(losses[True]) == 2 * 12 * shot
    assert len(losses[False]) == 3 * len(losses[True])
    expected = sum(sum(found) / len(found) for found in losses.values()) / 2
    assert method.loss(batch).item() == pytest.approx(expected, rel=1e-6)


def test_pairs_of_one_class_are_told_by_the_labels() -> None:
    same = same_class(torch.tensor([[2, 0]]), way=3, shot=2)
    assert same.tolist() == [[[False, False, False, False, True, True], [True, True, False, False, False, False]]]


@pytest.mark.parametrize("model", ["siamese", "siamese-cosine"])
def test_scores_of_zero_cost_the_logarithm_of_two(model: str) -> None:
    method = siamese(model).train()
    for parameter in [p for name, p in method.named_parameters() if not name.startswith("encoder")]:
        nn.init.zeros_(parameter)
    assert method.loss(toy_batch(EpisodeSpec(4, 2, 3))).item() == pytest.approx(math.log(2), rel=1e-9)


@pytest.mark.parametrize("margin", [1.0, 3.0])
def test_the_contrastive_loss_of_identical_embeddings_is_half_the_squared_margin(margin: float) -> None:
    """0 for pairs of one class, ``margin^2`` for others; half the weight on each."""
    method = siamese("siamese-contrastive", margin=margin).train()
    loss = method.loss(toy_batch(EpisodeSpec(4, 2, 3), image_set=constant_set()))
    assert loss.item() == pytest.approx(margin**2 / 2, rel=1e-4)


def test_the_contrastive_loss_lets_go_of_strangers_beyond_the_margin() -> None:
    method = siamese("siamese-contrastive", margin=2.0)
    scores = -torch.tensor([[[0.5, 1.5, 2.5]]], dtype=torch.float64)
    alike, strange = (method.pair_losses(scores, torch.full_like(scores, same)) for same in (1.0, 0.0))
    assert alike.flatten().tolist() == pytest.approx([0.25, 2.25, 6.25])
    assert strange.flatten().tolist() == pytest.approx([2.25, 0.25, 0.0])


def test_the_cosine_becomes_a_probability_near_0_for_strangers_and_near_1_for_likes() -> None:
    points = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    for scale in (10.0, 20.0):
        probabilities = siamese("siamese-cosine", scale=scale).pair_scores(points[:, :1], points * 7).sigmoid()
        expected = [1 / (1 + math.exp(-scale * (cosine - 0.5))) for cosine in (1, -1, 0)]
        assert probabilities.flatten().tolist() == pytest.approx(expected)
        assert expected[0] > 0.99
        assert max(expected[1:]) < 0.01


@pytest.mark.parametrize("model", MODELS)
def test_a_pair_has_one_score_whichever_image_comes_first(model: str) -> None:
    method, (support, query) = siamese(model), embeddings()
    scores = method.pair_scores(query, support.flatten(1, 2))
    turned = method.pair_scores(support.flatten(1, 2), query)
    torch.testing.assert_close(scores, turned.transpose(1, 2))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spec", [EpisodeSpec(4, 1, 1), EpisodeSpec(2, 3, 2), EpisodeSpec(1, 1, 1)])
def test_identical_images_give_a_finite_loss_and_gradient(model: str, spec: EpisodeSpec) -> None:
    method = siamese(model).train()
    loss = method.loss(toy_batch(spec, image_set=constant_set()))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_the_weights_of_the_distance_are_free_and_it_has_a_bias() -> None:
    method = siamese()
    assert isinstance(method, Siamese)
    assert (method.weigh.weight < 0).any()
    assert (method.weigh.weight > 0).any()
    assert method.weigh.bias.shape == (1,)


def test_only_a_distance_of_learned_weights_is_refused_untrained() -> None:
    image_set = toy_set()
    sampler = EpisodeSampler(image_set, EpisodeSpec(4, 2, 3), seed=0)
    for model in ("siamese-contrastive", "siamese-cosine"):
        assert evaluate(toy_method(model), sampler, 3).interval.n == 3
    method = toy_method("siamese")
    with pytest.raises(UntrainedError, match="weighted L1 distance of this Siamese was never trained"):
        evaluate(method, sampler, 3)
    train_step(method, optimizer_for(method, QUICK), image_set.images, sampler[0], "fp32")
    assert evaluate(method, sampler, 3).interval.n == 3
