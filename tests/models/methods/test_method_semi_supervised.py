"""Semi-supervised prototypes against the formulas of Ren et al. 2018, written as plain loops over Python floats."""

from __future__ import annotations

import math
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.methods.base import UntrainedError
from fewshot.models.methods.semi_supervised import ClusterPrototypical, MaskedPrototypical, RefinedPrototypical, moments
from fewshot.training.optimizers import optimizer_for
from fewshot.training.step import train_step
from toy_classes import QUICK, constant_set, toy_batch, toy_method, toy_set

Vector = list[float]
MODELS = ("soft-kmeans-proto", "cluster-proto", "masked-proto")
SPEC = EpisodeSpec(way=4, shot=1, num_query=2, num_unlabeled=2, num_distractor=1)


def refined(model: str, **options: Any) -> RefinedPrototypical:
    """Over an encoder of 8 numbers, in float64."""
    method = toy_method(model, options).double()
    assert isinstance(method, RefinedPrototypical)
    return method


def embeddings(shot: int = 2, scale: float = 0.7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, shot, 8), (2, 6, 8), (2, 9, 8))
    support, query, unlabeled = (scale * torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return support, query, unlabeled


def squared_distance(a: Vector, b: Vector) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def softmax(scores: Vector) -> Vector:
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def soft_assignments(prototypes: list[Vector], unlabeled: list[Vector]) -> list[Vector]:
    """Equation 4."""
    return [softmax([-squared_distance(point, center) for center in prototypes]) for point in unlabeled]


def cluster_assignments(prototypes: list[Vector], unlabeled: list[Vector], radius: float) -> list[Vector]:
    """Equations 5-6: one more center at the origin, ``A(r) = log(2 pi) / 2 + log r``; its column is not used."""
    centers, radii = [*prototypes, [0.0] * 8], [1.0] * len(prototypes) + [radius]
    rows = []
    for point in unlabeled:
        logits = [
            -squared_distance(point, center) / r**2 - (math.log(2 * math.pi) / 2 + math.log(r))
            for center, r in zip(centers, radii, strict=True)
        ]
        rows.append(softmax(logits)[:-1])
    return rows


def masked_assignments(prototypes: list[Vector], unlabeled: list[Vector], network: nn.Module) -> list[Vector]:
    """Equations 8-11; the exponential of threshold and slope is the released code's."""
    soft = soft_assignments(prototypes, unlabeled)
    for c, center in enumerate(prototypes):
        distances = [squared_distance(point, center) for point in unlabeled]
        relative = [d / (sum(distances) / len(distances)) for d in distances]
        statistics = [min(relative), max(relative), scipy.stats.moment(relative, 2)]
        statistics += [scipy.stats.skew(relative), scipy.stats.kurtosis(relative)]
        threshold, slope = network(torch.tensor(statistics, dtype=torch.float64)).exp().tolist()
        for row, distance in zip(soft, relative, strict=True):
            row[c] *= 1 / (1 + math.exp(slope * (distance - threshold)))
    return soft


def assignments(method: RefinedPrototypical, prototypes: list[Vector], unlabeled: list[Vector]) -> list[Vector]:
    if isinstance(method, ClusterPrototypical):
        return cluster_assignments(prototypes, unlabeled, method.log_radius.exp().item())
    if isinstance(method, MaskedPrototypical):
        return masked_assignments(prototypes, unlabeled, method.mask_network)
    return soft_assignments(prototypes, unlabeled)


def class_means(support: Tensor) -> list[Vector]:
    return [[sum(numbers) / len(numbers) for numbers in zip(*images, strict=True)] for images in support.tolist()]


def refined_by_loops(method: RefinedPrototypical, support: Tensor, unlabeled: Tensor) -> list[Vector]:
    """Equation 3: support images count 1, unlabeled ones by their assignment."""
    prototypes, points = class_means(support), unlabeled.tolist()
    weights = assignments(method, prototypes, points)
    moved = []
    for c, images in enumerate(support.tolist()):
        total = len(images) + sum(row[c] for row in weights)
        moved.append(
            [
                (
                    sum(image[k] for image in images)
                    + sum(row[c] * point[k] for row, point in zip(weights, points, strict=True))
                )
                / total
                for k in range(8)
            ]
        )
    return moved


def options_for(model: str) -> dict[str, Any]:
    """A radius at which the distractor cluster takes a share and leaves one."""
    return {"initial_radius": 3.0} if model == "cluster-proto" else {}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shot", [1, 3])
def test_weights_and_logits_are_those_of_the_paper(model: str, shot: int) -> None:
    method = refined(model, **options_for(model))
    support, query, unlabeled = embeddings(shot)
    weights, logits = method.weights(support.mean(2), unlabeled), method.logits(support, query, unlabeled)
    for episode in range(2):
        rows = assignments(method, class_means(support[episode]), unlabeled[episode].tolist())
        torch.testing.assert_close(weights[episode], torch.tensor(rows, dtype=torch.float64), rtol=1e-6, atol=1e-12)
        prototypes = refined_by_loops(method, support[episode], unlabeled[episode])
        expected = [[-squared_distance(point, center) for center in prototypes] for point in query[episode].tolist()]
        torch.testing.assert_close(logits[episode], torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_is_the_cross_entropy_over_refined_prototypes(model: str) -> None:
    """With the encoder in float64, over two episodes of real pixels, batch norm in training mode."""
    method = refined(model, **options_for(model)).train()
    batch = toy_batch(SPEC, count=2)
    support, query, unlabeled = (part.detach() for part in method.embed_episode(batch) if part is not None)
    total = 0.0
    for episode in range(2):
        prototypes = refined_by_loops(method, support[episode], unlabeled[episode])
        for point, label in zip(query[episode].tolist(), batch.labels[episode].tolist(), strict=True):
            total -= math.log(softmax([-squared_distance(point, center) for center in prototypes])[label])
    assert method.loss(batch).item() == pytest.approx(total / batch.labels.numel(), rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_without_unlabeled_images_it_is_prototypical_networks(model: str) -> None:
    support, query, unlabeled = embeddings()
    method = refined(model)
    assert torch.equal(method.logits(support, query), toy_method("proto").logits(support, query))
    assert not torch.allclose(method.logits(support, query, unlabeled), method.logits(support, query), rtol=1e-2)
    batch = toy_batch(EpisodeSpec(4, 2, 3))
    losses = [m.double().train().loss(batch).item() for m in (method, toy_method("proto"))]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("model", MODELS)
def test_unlabeled_images_pull_their_prototype_towards_them(model: str) -> None:
    """Two classes on a line; the unlabeled images of each lie further out. The midpoint stays, the distance grows."""
    support = torch.zeros(1, 2, 1, 8, dtype=torch.float64)
    support[0, :, 0, 0] = torch.tensor([5.0, 7.0])
    unlabeled = torch.zeros(1, 4, 8, dtype=torch.float64)
    unlabeled[0, :, 0] = torch.tensor([4.0, 4.5, 7.5, 8.0])
    method = refined(model)
    outer = torch.zeros(1, 2, 8, dtype=torch.float64)
    outer[0, :, 0] = torch.tensor([4.25, 7.75])
    before, after = method.logits(support, outer), method.logits(support, outer, unlabeled)
    assert (after.diagonal(dim1=1, dim2=2) > before.diagonal(dim1=1, dim2=2)).all()


def test_the_distractor_cluster_takes_what_is_far_from_every_class() -> None:
    """An image near a class stays with it, one far from all prototypes goes to the cluster at the origin."""
    support = torch.zeros(1, 2, 1, 8, dtype=torch.float64)
    support[0, 0, 0, 0] = support[0, 1, 0, 1] = 6.0
    unlabeled = torch.zeros(1, 2, 8, dtype=torch.float64)
    unlabeled[0, 0, 0], unlabeled[0, 1, 7] = 6.5, 6.0
    weights = refined("cluster-proto").weights(support[:, :, 0], unlabeled)
    assert weights[0, 0, 0].item() > 0.98
    assert weights[0, 1].sum().item() < 1e-6
    soft = refined("soft-kmeans-proto").weights(support[:, :, 0], unlabeled)
    assert soft[0, 1].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("point", "center", "distance"), [(10.0, 5.0, 25.0), (0.5, 1.5, 1.0)])
def test_a_larger_radius_takes_the_far_and_leaves_the_near(point: float, center: float, distance: float) -> None:
    prototype, unlabeled = torch.zeros(2, 1, 1, 8, dtype=torch.float64)
    prototype[..., 0], unlabeled[..., 0] = center, point
    shares = []
    for radius in (2.0, 100.0):
        weights = refined("cluster-proto", initial_radius=radius).weights(prototype, unlabeled)
        odds = math.exp(distance - point**2 / radius**2 - math.log(radius))
        assert weights.item() == pytest.approx(1 / (1 + odds), rel=1e-5)
        shares.append(weights.item())
    assert (shares[0] > 0.5 > shares[1]) if point > center else (shares[0] < 0.5 < shares[1])


def test_the_mask_counts_once_and_lets_only_near_images_through() -> None:
    """A network that always answers threshold 1 and slope 50: nearer than the mean passes, further does not."""
    method = refined("masked-proto")
    assert isinstance(method, MaskedPrototypical)
    last = method.mask_network[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, math.log(50.0)]))
    support, _, unlabeled = embeddings()
    weights = method.weights(support.mean(2), unlabeled)
    soft = refined("soft-kmeans-proto").weights(support.mean(2), unlabeled)
    distances = torch.cdist(unlabeled, support.mean(2)).square()
    relative = distances / distances.mean(1, keepdim=True)
    torch.testing.assert_close(weights / soft, torch.sigmoid(-50 * (relative - 1)), rtol=1e-6, atol=1e-9)
    assert (weights / soft)[relative < 0.8].min() > 0.99
    assert (weights / soft)[relative > 1.2].max() < 0.01


def test_a_mask_of_one_half_halves_the_weights_and_does_not_quarter_them() -> None:
    """Slope 0: the released code, which counts the mask twice, would give a quarter."""
    method = refined("masked-proto")
    assert isinstance(method, MaskedPrototypical)
    last = method.mask_network[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, -100.0)
    support, _, unlabeled = embeddings()
    weights = method.weights(support.mean(2), unlabeled)
    torch.testing.assert_close(weights, refined("soft-kmeans-proto").weights(support.mean(2), unlabeled) / 2)


def test_moments_are_those_of_scipy() -> None:
    values = torch.rand(2, 11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 3
    found = moments(values)
    assert found.shape == (2, 3, 5)
    for episode in range(2):
        for column in range(3):
            sample = values[episode, :, column].numpy()
            expected = [
                sample.min(),
                sample.max(),
                sample.var(),
                scipy.stats.skew(sample),
                scipy.stats.kurtosis(sample),
            ]
            assert found[episode, column].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spec", [EpisodeSpec(3, 1, 1, 1), EpisodeSpec(3, 2, 1, 2, 2), EpisodeSpec(1, 1, 1, 1)])
def test_identical_images_are_worth_the_logarithm_of_the_way(model: str, spec: EpisodeSpec) -> None:
    """All relative distances are 0 by 0, and one unlabeled image has no variance."""
    method = toy_method(model).train()
    loss = method.loss(toy_batch(spec, image_set=constant_set()))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(math.log(spec.way), abs=1e-5)
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("model", ["cluster-proto", "masked-proto"])
def test_radius_and_mask_network_learn(model: str) -> None:
    method = refined(model, **options_for(model)).train()
    torch.autograd.backward(method.loss(toy_batch(SPEC, count=3, image_set=toy_set(noise=130))))
    own = {name: p.grad for name, p in method.named_parameters() if not name.startswith("encoder")}
    assert own
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in own.values())


def test_an_untrained_mask_network_is_refused_and_the_others_are_not() -> None:
    image_set = toy_set()
    sampler = EpisodeSampler(image_set, SPEC, seed=0)
    for model in ("soft-kmeans-proto", "cluster-proto"):
        assert evaluate(toy_method(model), sampler, 3).interval.n == 3
    method = toy_method("masked-proto")
    with pytest.raises(UntrainedError, match="mask network of this MaskedPrototypical was never trained"):
        evaluate(method, sampler, 3)
    train_step(method, optimizer_for(method, QUICK), image_set.images, sampler[0], "fp32")
    assert evaluate(method, sampler, 3).interval.n == 3
