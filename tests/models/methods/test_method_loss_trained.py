"""Training on labeled batches: a loss behind an encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.errors import Interrupted
from episodes.sampler import ClassBatchSampler
from episodes.types import ImageSet
from fewshot.models.batches import LabeledImages
from fewshot.models.losses import LOSSES
from fewshot.models.methods import METHODS, Method
from fewshot.models.methods.loss_trained import MetricMethod
from fewshot.models.options import options_of
from fewshot.training.loop import train
from fewshot.training.recipes import find_recipe
from toy_classes import QUICK, toy_method, toy_set
from toy_training import identical, measure, press_ctrl_c_at, weights_of

FEW = (*SMOKE, "--train-episodes", "10")
BATCHES = replace(QUICK, train_way=None, train_shot=None, batch_size=12, val_shot=1)


def trained(
    model: str, image_set: ImageSet | None = None, per_class: int | None = None, **more: Any
) -> tuple[Method, float]:
    method = toy_method(model)
    sampler = ClassBatchSampler(image_set or toy_set(noise=90), 12, 0, per_class=per_class)
    return method, train(method, sampler, BATCHES, measure, **more).selected.accuracy


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_is_a_model_with_the_options_of_the_loss(name: str) -> None:
    method_class, loss_class = METHODS.get(name), LOSSES.get(name)
    assert method_class.trains_on == "images"
    assert options_of(method_class) == options_of(loss_class)
    assert METHODS.get(name).trains_on == "images"
    assert find_recipe("fast", "omniglot", 1, name) == find_recipe("fast", "omniglot", 5, name, 20)


def test_an_option_of_the_model_reaches_the_loss() -> None:
    assert toy_method("triplet", {"margin": 0.7}).criterion.margin == 0.7  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["softmax", "triplet"])
def test_a_training_on_images_that_was_stopped_ends_with_the_same_bits(model: str, tmp_path: Path) -> None:
    per_class = 3 if model == "triplet" else None
    whole, _ = trained(model, per_class=per_class)
    with pytest.raises(Interrupted, match=r"episode 2[01]"):
        trained(model, per_class=per_class, state_path=tmp_path / "state", on_progress=press_ctrl_c_at(20))
    resumed, _ = trained(model, per_class=per_class, state_path=tmp_path / "state")
    assert identical(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize("model", ["softmax", "nt-xent", "infonce"])
def test_permuted_training_labels_change_every_bit_but_those_of_a_self_supervised_training(model: str) -> None:
    """The images stand in another order of classes, with other class ids; the batches hold the same images."""
    plain = toy_set(noise=90)
    sizes = np.array([1, 11, 3, 9, 6, 6, 2, 10])  # the same images, divided into other classes
    relabeled = replace(plain, class_starts=np.concatenate(([0], sizes.cumsum())))
    assert not torch.equal(plain.class_ids, relabeled.class_ids)
    weights = [weights_of(trained(model, image_set)[0]) for image_set in (plain, relabeled)]
    assert identical(*weights) == METHODS.get(model).self_supervised


def test_the_embedding_has_length_1_where_the_loss_works_on_unit_vectors() -> None:
    images = toy_set().images[:4]
    for model in ("triplet", "softmax"):
        method = toy_method(model).eval()
        features = method.encoder(images)
        unit = functional.normalize(features, dim=-1)
        assert torch.equal(method.embed(images), unit if model == "triplet" else features)


def test_a_loss_without_labels_never_sees_the_labels_and_drops_its_projection_at_test() -> None:
    method = toy_method("nt-xent").eval()
    images = toy_set().images[:4]
    before = method.embed(images)
    for parameter in method.criterion.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    assert torch.equal(method.embed(images), before)


def test_one_training_serves_all_settings_of_the_test(fewshot: Fewshot) -> None:
    first = record_in(fewshot(*FEW, "--model", "softmax", "--way", "5", "--shot", "1"))
    again = fewshot(*FEW, "--model", "softmax", "--way", "4", "--shot", "5")
    assert "already trained" in again.err
    assert checkpoint_of(record_in(again)) == checkpoint_of(first)
    assert first.trained.recipe.batch_size
    tested = fewshot("evaluate", checkpoint_of(first), "--way", "3", "--episodes", "20", "--query", "5")
    assert record_in(tested).protocol.startswith("strokes-standard-28-c50/3w1s")
    record = record_in(fewshot(*FEW, "--model", "nt-xent"))
    assert record.self_supervised
    assert not first.self_supervised


def test_batches_are_chosen_on_the_command_line(fewshot: Fewshot) -> None:
    record = record_in(fewshot(*FEW, "--model", "triplet", "--batch-size", "24", "--per-class", "6"))
    assert (record.trained.recipe.batch_size, record.trained.recipe.per_class) == (24, 6)


def test_two_views_of_an_image_are_augmented_apart() -> None:
    seen: list[LabeledImages] = []

    class Watching(MetricMethod):
        loss_class = LOSSES.get("nt-xent")
        options_from = loss_class
        title = source = "a test's"
        views = 2
        self_supervised = True

        def loss_of_images(self, batch: LabeledImages) -> Tensor:
            seen.append(batch)
            return super().loss_of_images(batch)

    sampler = ClassBatchSampler(toy_set(noise=90), 12, 0)
    method = Watching(toy_method("nt-xent").encoder, 8)
    train(method, sampler, replace(BATCHES, augment="ink", train_episodes=2), measure)
    (first, second), (later, _) = (batch.images.chunk(2) for batch in seen)
    rows, labels = sampler.batch(0)
    assert torch.equal(seen[0].labels, labels.repeat(2))
    original = sampler.image_set.images[rows]
    assert len({view.numpy().tobytes() for view in (original, first, second, later)}) == 4
