from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from fewshot.models.batches import LabeledImages
from fewshot.models.factory import build_method
from fewshot.models.methods.gan import GAN
from fewshot.training.optimizers import optimizer_for
from fewshot.training.recipes import find_recipe
from fewshot.training.sample_grid import draw_samples
from toy_classes import COLOR, GRAY, QUICK, toy_set


def gan(image_shape: tuple[int, int, int] = GRAY, **options: object) -> GAN:
    small = {"generator_width": 8} | options
    method = build_method("gan", small, "dcgan", {"width": 8}, image_shape, 0)
    assert isinstance(method, GAN)
    return method.train()


def batch() -> LabeledImages:
    image_set = toy_set()
    return LabeledImages(image_set.images, image_set.class_ids)


def gradients(method: GAN, loss: Tensor) -> dict[str, Tensor]:
    method.zero_grad()
    torch.autograd.backward(loss)
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize(("kind", "of_generator"), [("non-saturating", math.log(2)), ("saturating", -math.log(2))])
def test_a_discriminator_that_knows_nothing_costs_two_logarithms_of_two(kind: str, of_generator: float) -> None:
    method = gan(generator_loss=kind)
    torch.nn.init.zeros_(method.score.weight)
    torch.nn.init.zeros_(method.score.bias)
    scores = torch.zeros(5, 1)
    assert method.discriminator_loss(scores, scores).item() == pytest.approx(1.386, abs=1e-3)
    assert method.loss_of_images(batch()).item() == pytest.approx(2 * math.log(2) + of_generator, rel=1e-6)


@pytest.mark.parametrize("kind", ["non-saturating", "saturating"])
def test_the_losses_are_those_of_the_paper(kind: str) -> None:
    real, made = torch.tensor([[0.3], [-2.0], [1.5]]).double(), torch.tensor([[-1.0], [0.2], [2.5]]).double()
    believed = [1 / (1 + math.exp(-score)) for score in real.flatten().tolist()]
    fooled = [1 / (1 + math.exp(-score)) for score in made.flatten().tolist()]
    expected = -sum(math.log(p) for p in believed) / 3 - sum(math.log(1 - p) for p in fooled) / 3
    assert GAN.discriminator_loss(real, made).item() == pytest.approx(expected, rel=1e-9)
    terms = [math.log(1 - p) if kind == "saturating" else -math.log(p) for p in fooled]
    assert gan(generator_loss=kind).generator_loss_of(made).item() == pytest.approx(sum(terms) / 3, rel=1e-9)


def test_each_side_learns_from_its_own_loss_alone() -> None:
    method = gan()
    made = method.generator(method.fixed_noise)
    of_generator = gradients(method, method.generator_loss_of(method.scores_of_made(made, learning=False)))
    assert {name.split(".")[0] for name in of_generator} == {"generator"}
    images, scores = batch().images, method.scores_of_made(made.detach(), learning=True)
    of_discriminator = gradients(method, method.discriminator_loss(method.score(method.embed(images)), scores))
    assert {name.split(".")[0] for name in of_discriminator} == {"encoder", "score"}


def test_a_poor_generator_saturates_in_the_minimax_loss_only() -> None:
    slopes = {}
    for kind in ("saturating", "non-saturating"):
        scores = torch.full((1, 1), -8.0, requires_grad=True)  # the discriminator is sure that it is made
        torch.autograd.backward(gan(generator_loss=kind).generator_loss_of(scores))
        assert scores.grad is not None
        slopes[kind] = scores.grad.abs().item()
    assert slopes["saturating"] < 1e-3
    assert slopes["non-saturating"] > 0.99


def test_batch_norm_learns_its_statistics_from_real_images_alone() -> None:
    method, only_real = gan(), gan()
    method.loss_of_images(batch())
    only_real.embed(batch().images)
    for mine, theirs in zip(method.encoder.buffers(), only_real.encoder.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("image_shape", [GRAY, COLOR, (1, 20, 33)])
def test_made_images_have_the_shape_of_real_ones(image_shape: tuple[int, int, int], tmp_path: Path) -> None:
    method = gan(image_shape)
    samples = method.samples()
    assert samples.shape == (64, *image_shape)
    assert torch.equal(method.eval().samples(), method.samples())
    paths = [draw_samples(method, tmp_path) for _ in range(2)]
    assert [path.name for path in paths if path] == ["samples-0001.png", "samples-0002.png"]
    with Image.open(tmp_path / "samples-0001.png") as picture:
        assert picture.size == (2 * 8 * (image_shape[2] + 2), 2 * 8 * (image_shape[1] + 2))


def test_the_recipe_has_the_papers_momentum() -> None:
    recipe = find_recipe("fast", "omniglot", 1, "gan")
    assert (recipe.learning_rate, recipe.learning_rate_at(3999), recipe.momentum) == (2e-4, 2e-4, 0.5)
    assert optimizer_for(gan(), recipe).param_groups[0]["betas"] == (0.5, 0.999)
    assert optimizer_for(gan(), QUICK).param_groups[0]["betas"] == (0.9, 0.999)
    assert optimizer_for(gan(), replace(QUICK, momentum=0.0)).param_groups[0]["betas"] == (0.0, 0.999)


def test_a_run_leaves_a_picture_of_samples_for_every_validation(fewshot: Fewshot) -> None:
    record = record_in(fewshot(*SMOKE, "--model", "gan", "--generator-width", "8"))
    pictures = sorted(checkpoint_of(record).parent.glob("samples-*.png"))
    assert len(pictures) == len(record.history.validations) == 2
    assert record.self_supervised
    assert record.trained.recipe.momentum == 0.5
