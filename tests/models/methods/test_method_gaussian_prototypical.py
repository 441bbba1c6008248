"""Gaussian Prototypical Networks against the formulas of Fort 2017, written as plain loops over Python floats."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from episodes.spec import EpisodeSpec
from fewshot.experiments.resolve import divided_options
from fewshot.models.factory import build_method
from fewshot.models.methods.gaussian_prototypical import GaussianPrototypical
from fewshot.models.options import OptionError
from toy_classes import GRAY, constant_set, toy_batch

DIM = 4
COVARIANCES, FORMS = ("radius", "diagonal"), ("softplus", "sigmoid", "sigmoid-4")


def gaussian(covariance: str = "radius", form: str = "softplus") -> GaussianPrototypical:
    """Over an encoder of 4 coordinates."""
    options = {"covariance": covariance, "form": form}
    method = build_method("gaussian-proto", options, "conv4-gaussian", {"width": DIM}, GRAY, seed=0)
    assert isinstance(method, GaussianPrototypical)
    return method


def embeddings(covariance: str, shot: int = 3) -> tuple[Tensor, Tensor]:
    numbers = DIM + (1 if covariance == "radius" else DIM)
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(2, 5, shot, numbers, generator=generator, dtype=torch.float64)
    return support, torch.randn(2, 6, numbers, generator=generator, dtype=torch.float64)


def inverse_variance(raw: float, form: str) -> float:
    """What the raw number of the encoder is turned into."""
    if form == "softplus":
        return 1 + math.log(1 + math.exp(raw))
    return 1 + (4 if form == "sigmoid-4" else 1) / (1 + math.exp(-raw))


def distances_by_loops(support: Tensor, query: Tensor, form: str) -> list[list[float]]:
    """Equations 5-8, one coordinate at a time: support (way, shot, numbers), query (queries, numbers)."""
    rows = []
    for point in query.tolist():
        row = []
        for images in support.tolist():
            square = 0.0
            for k in range(DIM):
                raw = [image[DIM] if len(image) == DIM + 1 else image[DIM + k] for image in images]
                weights = [inverse_variance(number, form) for number in raw]
                center = sum(s * image[k] for s, image in zip(weights, images, strict=True)) / sum(weights)
                square += sum(weights) * (point[k] - center) ** 2
            row.append(math.sqrt(square))
        rows.append(row)
    return rows


@pytest.mark.parametrize("shot", [1, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_logits_are_minus_the_weighted_distances_to_the_weighted_means(covariance: str, form: str, shot: int) -> None:
    support, query = embeddings(covariance, shot)
    logits = gaussian(covariance, form).logits(support, query)
    for episode in range(2):
        expected = torch.tensor(distances_by_loops(support[episode], query[episode], form), dtype=torch.float64)
        torch.testing.assert_close(logits[episode], -expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_loss_is_the_cross_entropy_of_minus_the_distance(covariance: str) -> None:
    """With the encoder in float64, over two episodes of real pixels, batch norm in training mode."""
    method = gaussian(covariance).double().train()
    batch = toy_batch(EpisodeSpec(5, 2, 3), count=2)
    support, query, _ = method.embed_episode(batch)
    total = 0.0
    for episode in range(2):
        distances = distances_by_loops(support[episode].detach(), query[episode].detach(), "softplus")
        for row, label in zip(distances, batch.labels[episode].tolist(), strict=True):
            total += row[label] + math.log(sum(math.exp(-distance) for distance in row))
    assert method.loss(batch).item() == pytest.approx(total / batch.labels.numel(), rel=1e-6)


def test_the_distance_is_linear_and_not_squared() -> None:
    """Twice as far is twice the distance; the radius counts under the root."""
    support = torch.zeros(1, 2, 1, DIM + 1)
    query = torch.zeros(1, 2, DIM + 1)
    query[0, :, :2] = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    logits = gaussian().logits(support, query)
    confidence = 1 + math.log(2)
    assert logits[0, :, 0].tolist() == pytest.approx([-5 * math.sqrt(confidence), -10 * math.sqrt(confidence)])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_prototype_lies_near_the_image_of_high_confidence(covariance: str) -> None:
    """Raw numbers of 200 and -200 are weights of 201 and 1."""
    support, query = torch.zeros(1, 1, 2, gaussian(covariance).encoder.dim), torch.zeros(1, 1, DIM + 1)
    support[0, 0, :, 0] = torch.tensor([0.0, 202.0])
    support[0, 0, :, DIM:] = torch.tensor([[200.0], [-200.0]])
    if covariance == "diagonal":
        query = torch.zeros(1, 1, 2 * DIM)
    distance = -gaussian(covariance).logits(support, query)
    assert distance.item() == pytest.approx(1.0 * math.sqrt(202))  # the prototype lies at 202 / 202 = 1


def test_confidences_have_the_ranges_of_their_forms() -> None:
    raw = torch.tensor([[0.0] * DIM + [number] for number in (-50.0, 0.0, 50.0)])
    found = {form: gaussian(form=form).confidence(raw)[:, 0].tolist() for form in FORMS}
    assert found["softplus"] == pytest.approx([1, 1 + math.log(2), 51])
    assert found["sigmoid"] == pytest.approx([1, 1.5, 2])
    assert found["sigmoid-4"] == pytest.approx([1, 3, 5])


def test_the_confidence_of_a_query_does_not_count() -> None:
    support, query = embeddings("radius")
    surer = query.clone()
    surer[..., DIM:] += 10
    assert torch.equal(gaussian().logits(support, query), gaussian().logits(support, surer))


def test_a_diagonal_weighs_each_direction_for_itself_and_a_radius_all_alike() -> None:
    """Equal raw numbers in every direction are a radius."""
    support, query = embeddings("radius")
    spread = [
        torch.cat([part[..., :DIM], part[..., DIM:].expand(*part.shape[:-1], DIM)], -1) for part in embeddings("radius")
    ]
    as_radius = gaussian("radius").logits(support, query)
    torch.testing.assert_close(gaussian("diagonal").logits(*spread), as_radius)
    spread[0][..., -1] += 3
    assert not torch.allclose(gaussian("diagonal").logits(*spread), as_radius, rtol=1e-2)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("spec", [EpisodeSpec(5, 1, 2), EpisodeSpec(5, 3, 1), EpisodeSpec(1, 1, 1)])
def test_identical_images_are_worth_the_logarithm_of_the_way(covariance: str, spec: EpisodeSpec) -> None:
    """All distances are 0, where a root has an infinite slope."""
    method = gaussian(covariance).train()
    loss = method.loss(toy_batch(spec, image_set=constant_set()))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(math.log(spec.way), abs=1e-6)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize(("covariance", "numbers"), [("radius", 65), ("diagonal", 128)])
def test_the_encoder_gives_the_numbers_that_the_covariance_needs(covariance: str, numbers: int) -> None:
    method = build_method("gaussian-proto", {"covariance": covariance}, "conv4-gaussian", {}, GRAY, seed=0)
    assert isinstance(method, GaussianPrototypical)
    assert (method.encoder.dim, method.dim) == (numbers, 64)


def test_on_the_command_line_the_covariance_is_an_option_of_the_model() -> None:
    """The encoder knows the word too and would otherwise take it away from the model."""
    divided = divided_options("gaussian-proto", "conv4-gaussian", {"covariance": "diagonal", "width": "32"})
    assert divided == {"model_options": {"covariance": "diagonal"}, "encoder_options": {"width": 32}}


def test_a_covariance_that_encoder_and_model_do_not_share_is_refused() -> None:
    with pytest.raises(OptionError, match=r"needs --covariance radius of its encoder: give covariance to the model"):
        build_method("gaussian-proto", {}, "conv4-gaussian", {"covariance": "diagonal"}, GRAY, seed=0)
    with pytest.raises(OptionError, match=r"with --encoder conv4-gaussian"):
        build_method("gaussian-proto", {}, "conv4", {}, GRAY, seed=0)
