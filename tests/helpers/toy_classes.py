"""Small separable images for tests: a class is a random pattern, its images are that pattern with noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from episodes.datasets.strokes.dataset import Strokes
from episodes.progress import Progress, silent
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet, Split
from fewshot.models.batches import EpisodeImages, episode_images
from fewshot.models.factory import build_method
from fewshot.models.methods import Method
from fewshot.training.recipes import Recipe

GRAY, COLOR = (1, 28, 28), (3, 84, 84)

QUICK = Recipe(
    "smoke",
    "a test",
    train_way=4,
    train_shot=1,
    train_query=2,
    train_episodes=30,
    learning_rate=1e-2,
    schedule="cosine",
    warmup=3,
    val_way=4,
    val_query=2,
    val_episodes=20,
    validate_every=10,
)


def toy_set(
    num_classes: int = 8,
    per_class: int = 6,
    image_shape: tuple[int, int, int] = GRAY,
    seed: int = 0,
    split: str = "train",
    noise: float = 40.0,
) -> ImageSet:
    """``num_classes`` patterns of 7x7 blocks, ``per_class`` noisy images of each."""
    generator = np.random.default_rng(seed)
    channels, height, width = image_shape
    blocks = generator.integers(0, 256, (num_classes, 1, channels, 7, 7)).astype(float)
    patterns = blocks.repeat(height // 7, axis=3).repeat(width // 7, axis=4)
    images = patterns + noise * generator.standard_normal((num_classes, per_class, *image_shape))
    pixels = torch.from_numpy(images.clip(0, 255).astype(np.uint8)).reshape(-1, *image_shape)
    names = tuple(f"class{index}" for index in range(num_classes))
    starts = np.arange(num_classes + 1, dtype=np.int64) * per_class
    return ImageSet(pixels, starts, names, "toy", split, f"toy-{num_classes}-{per_class}-{image_shape}-{seed}-{noise}")


def constant_set(value: int = 128, num_classes: int = 8, per_class: int = 6) -> ImageSet:
    """Images that tell nothing: every pixel of every image is ``value``."""
    toy = toy_set(num_classes, per_class)
    return replace(toy, images=torch.full_like(toy.images, value), fingerprint=f"constant-{value}")


def toy_method(
    model: str = "proto",
    options: dict[str, Any] | None = None,
    *,
    width: int = 8,
    image_shape: tuple[int, int, int] = GRAY,
    seed: int = 0,
) -> Method:
    """A method over a Conv4 with few channels."""
    return build_method(model, options or {}, "conv4", {"width": width}, image_shape, seed, num_classes=8)


def toy_batch(spec: EpisodeSpec, count: int = 1, seed: int = 0, image_set: ImageSet | None = None) -> EpisodeImages:
    """The pixels of ``count`` episodes."""
    chosen = image_set or toy_set()
    return episode_images(chosen.images, EpisodeSampler(chosen, spec, seed).batch(0, count))


class FewStrokes(Strokes):
    """Strokes of 50 characters (32 train, 6 val, 12 test), drawn once for all tests.

    A test may put other images in the place of a split.
    """

    drawn: ClassVar[dict[tuple[str, Split], ImageSet]] = {}  # a test may give them another name

    def __init__(self, root: Path | str | None = None, class_split: str | None = None, **replaced: ImageSet) -> None:
        super().__init__(root, class_split, num_classes=50)
        self.replaced = replaced

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        key = self.protocol_name, split
        if key not in self.drawn:
            self.drawn[key] = super().load(split, progress)
        return self.replaced.get(split, self.drawn[key])


class NoTest(FewStrokes):
    """Few strokes whose test classes must not be looked at."""

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        assert split != "test", "the test classes are read"
        return super().load(split, progress)
