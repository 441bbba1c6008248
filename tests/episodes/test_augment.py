from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from episodes.augment import AUGMENTATIONS, Augmentation, jittered
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.models.batches import EpisodeImages, episode_images
from fewshot.models.encoders.torchvision_import import import_torchvision
from fewshot.models.factory import build_method
from fewshot.training.step import train_step
from toy_classes import COLOR, GRAY, toy_set

every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS)
IMAGES = toy_set(4, 4).images
PHOTOS = toy_set(2, 3, COLOR).images


def test_no_range_leaves_the_images_as_they_are() -> None:
    for images in (IMAGES, PHOTOS):
        assert torch.equal(Augmentation()(images, 0, 0), images)


@every_augmentation
def test_an_augmentation_depends_on_seed_and_step_alone(name: str) -> None:
    augment, images = AUGMENTATIONS[name], PHOTOS if "photo" in name else IMAGES
    first = augment(images, 3, 7)
    torch.rand(5)
    assert torch.equal(augment(images, 3, 7), first)
    assert not torch.equal(augment(images, 3, 8), first)
    assert not torch.equal(augment(images, 4, 7), first)
    assert first.dtype == torch.uint8
    assert first.shape == images.shape


@every_augmentation
def test_every_image_of_a_batch_is_changed_in_its_own_way(name: str) -> None:
    images = toy_set(1, 1, COLOR if "photo" in name else (1, 28, 28)).images.repeat(6, 1, 1, 1)
    changed = AUGMENTATIONS[name](images, 0, 0)
    assert len({image.numpy().tobytes() for image in changed}) == (2 if name == "flip" else 6)


def test_flipping_without_a_grid_is_flipping_with_one() -> None:
    images = toy_set(4, 4, COLOR).images
    flipped, with_grid = AUGMENTATIONS["flip"], Augmentation(flip=True, mirrored=True)
    assert flipped != with_grid  # what lies outside is never seen, so they do the same
    for step in range(3):
        assert torch.equal(flipped(images, 5, step), with_grid(images, 5, step))
    assert not torch.equal(flipped(images, 5, 0), images)


def centered() -> Tensor:
    """A blot that stays inside whatever happens to it."""
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    images[0, 0, 10:19, 11:16] = 255
    images[0, 0, 10:13, 14:18] = 120
    return images


@pytest.mark.parametrize(
    ("augment", "column", "torchvisions"),
    [
        (Augmentation(rotation=20), 0, {"angle": -20.0}),
        (Augmentation(scale=(0.5, 1.3)), 2, {"scale": 1.3}),
        (Augmentation(shift=0.25), 4, {"translate": [-7, 0]}),
        (Augmentation(shift=0.25), 5, {"translate": [0, -7]}),
    ],
)
def test_the_geometry_is_that_of_torchvision(augment: Augmentation, column: int, torchvisions: dict[str, Any]) -> None:
    """At the end of its range, for one kind of change at a time."""
    import_torchvision()
    from torchvision.transforms.v2 import InterpolationMode, functional

    drawn = torch.full((1, 43), 0.5)
    drawn[:, column] = 1.0
    grid = torch.nn.functional.affine_grid(augment.matrices(drawn), [1, 1, 28, 28], align_corners=False)
    found = torch.nn.functional.grid_sample(centered().float(), grid, align_corners=False)
    nothing = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    expected = functional.affine(
        centered().float(), **(nothing | torchvisions), interpolation=InterpolationMode.BILINEAR
    )
    assert found.sum() > 1000
    assert (found - expected).abs().max() < 1.0


def test_the_colors_are_those_of_torchvision() -> None:
    import_torchvision()
    from torchvision.transforms.v2 import functional

    factors = torch.tensor([[1.3, 0.7, 1.5], [0.6, 1.4, 0.2]])
    found = jittered(PHOTOS[:2].float(), factors)
    for image, (brightness, contrast, saturation), mine in zip(PHOTOS, factors.tolist(), found, strict=False):
        expected = functional.adjust_brightness(image.float() / 255, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        assert (mine / 255 - expected).abs().max() < 0.005


def test_half_of_the_images_are_flipped() -> None:
    images = toy_set(1, 1).images.repeat(200, 1, 1, 1)
    changed = Augmentation(flip=True)(images, 0, 0)
    flipped = (changed == images.flip(-1)).flatten(1).all(1)
    assert 60 < int(flipped.sum()) < 140
    assert (flipped ^ (changed == images).flatten(1).all(1)).all()


@given(st.floats(0.2, 1.0), st.integers(0, 2**20))
def test_a_crop_never_looks_outside(crop: float, index: int) -> None:
    images = torch.full((8, 1, 28, 28), 200, dtype=torch.uint8)
    assert (Augmentation(crop=crop)(images, 0, index)[:, :, 1:-1, 1:-1] == 200).all()


def test_views_of_512_images_cost_little_beside_a_training_step() -> None:
    images = IMAGES.repeat(32, 1, 1, 1)
    AUGMENTATIONS["ink"](images, 0, 0)
    began = time.process_time()
    AUGMENTATIONS["ink"](images, 0, 1)
    assert time.process_time() - began < 0.5  # 0.03 s on one core; a training step takes 0.08 s


@pytest.mark.parametrize("num_unlabeled", [0, 2])
def test_every_image_of_an_episode_is_changed_and_stays_in_its_place(num_unlabeled: int) -> None:
    image_set = toy_set(5, 8)
    spec = EpisodeSpec(way=3, shot=2, num_query=1, num_unlabeled=num_unlabeled)
    episode = episode_images(image_set.images, EpisodeSampler(image_set, spec, seed=0).batch(0, 2))
    seen: list[int] = []

    def inverted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return 255 - images

    changed = episode.changed(inverted)
    assert seen == [2 * 3 * (2 + 1 + num_unlabeled)]  # all in one call, so that each draws its own change
    for name in ("support", "query", "unlabeled"):
        before, after = getattr(episode, name), getattr(changed, name)
        assert (before is None) == (after is None)
        assert before is None or torch.equal(after, 255 - before)
    assert torch.equal(changed.labels, episode.labels)
    assert isinstance(changed, EpisodeImages)
    assert episode.changed(None) is episode


def test_a_step_on_an_episode_sees_the_changed_images() -> None:
    image_set = toy_set(5, 8)
    method = build_method("proto", {}, "conv4", {"width": 8}, GRAY, seed=0).train()
    seen: list[Tensor] = []

    def dark(images: Tensor) -> Tensor:
        return torch.zeros_like(images)

    method.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    episode = EpisodeSampler(image_set, EpisodeSpec(way=3, shot=1, num_query=2), seed=0).batch(0, 1)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.0)
    train_step(method, optimizer, image_set.images, episode, "fp32", dark)
    train_step(method, optimizer, image_set.images, episode, "fp32")
    assert not seen[0].any()
    assert seen[1].any()
