"""Every registered method under every word of its options, and what contracts do with one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.models.batches import EpisodeImages, episode_images
from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape
from fewshot.models.factory import build_method
from fewshot.models.methods import METHODS, Method
from fewshot.models.options import options_of
from toy_classes import GRAY, toy_batch, toy_set

Variant = tuple[str, dict[str, Any]]


def variants() -> list[Variant]:
    """Every method as it is by default, and once with every other word that one of its options takes."""
    found: list[Variant] = []
    for name in METHODS:
        found.append((name, {}))
        for option in options_of(METHODS.get(name)).values():
            words = option.choices or ((not option.default,) if option.kind is bool else ())
            found += [(name, {option.name: word}) for word in words if word != option.default]
    return found


LEARNING = [variant for variant in variants() if variant[0] != "hausdorff"]
"""All but the one that has no weight at all."""

every_learner = pytest.mark.parametrize("variant", LEARNING, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
every_method = pytest.mark.parametrize("variant", variants(), ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))


def build(variant: Variant, seed: int = 0, image_shape: ImageShape = GRAY) -> Method:
    """The method over its own encoder, made narrow where the encoder has a width."""
    name, options = variant
    encoder = METHODS.get(name).default_encoder
    narrow = {"width": 16} if "width" in options_of(ENCODERS.get(encoder)) else {}
    method = build_method(name, options, encoder, narrow, image_shape, seed, num_classes=8)
    method.trained = True  # what is untrained may refuse to be evaluated; here nothing is made of its accuracy
    return method


def build_encoder(name: str, image_shape: ImageShape) -> Encoder:
    """The encoder for images of that shape, or of the smallest that it takes; the large one with few units."""
    encoder_class = ENCODERS.get(name)
    channels, *sides = image_shape
    height, width = (
        max(side, 7 * -(-encoder_class.smallest_image // 7)) for side in sides
    )  # toy sets have blocks of 7
    few = {"units": 32} if "units" in options_of(encoder_class) else {}
    return encoder_class((channels, height, width), **few)


def spec_for(method: Method, way: int = 4, shot: int = 2, num_query: int = 3) -> EpisodeSpec:
    """Episodes with unlabeled images and a distractor class for the methods that use them."""
    return EpisodeSpec(way, shot, num_query, *((2, 1) if method.uses_unlabeled else ()))


def batch_for(method: Method, count: int = 1, image_set: ImageSet | None = None, **counts: int) -> EpisodeImages:
    chosen = image_set or toy_set(per_class=10)
    return toy_batch(spec_for(method, **counts), count, image_set=chosen)


def embedded(method: Method, batch: EpisodeImages) -> tuple[Tensor, Tensor, Tensor | None]:
    with torch.inference_mode():
        return method.eval().embed_episode(batch)


def logits_of(method: Method, support: Tensor, query: Tensor, unlabeled: Tensor | None) -> Tensor:
    with torch.inference_mode():
        return method.eval().logits(support, query, unlabeled)


def assert_near(found: Tensor, expected: Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * scale)


def trained_a_little(method: Method, steps: int = 2) -> list[float]:
    """The losses of a few gradient steps, each on an episode of its own."""
    image_set = toy_set(per_class=10)
    sampler = EpisodeSampler(image_set, spec_for(method), seed=1)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    losses = []
    method.train()
    for index in range(steps):
        torch.manual_seed(index)  # as the training loop does
        loss = method.loss(episode_images(image_set.images, sampler[index]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses
