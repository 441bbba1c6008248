"""What the weight of the center loss does to embeddings in the plane (after Wen et al. 2016, figure 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from episodes.sampler import ClassBatchSampler
from episodes.types import EpisodeError, ImageSet
from fewshot.evaluation.evaluate import embed_all
from fewshot.models.factory import build_method, place
from fewshot.progress import Reporter
from fewshot.statistics.intervals import Interval
from fewshot.training.loop import train
from fewshot.training.recipes import Recipe

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """A training with one weight: where it puts the images, (num_images, 2), and the centers, (num_classes, 2)."""

    weight: float
    embeddings: Points
    centers: Points

    @property
    def spread(self) -> float:
        """The mean squared length of the embeddings: what the weight shrinks."""
        return float(np.square(self.embeddings).sum(1).mean())


def few_classes(image_set: ImageSet, num_classes: int) -> ImageSet:
    """Classes from all over the set. Raises EpisodeError where it has fewer."""
    if num_classes > image_set.num_classes:
        raise EpisodeError(f"there are {image_set.num_classes} training classes: choose --classes of that or less")
    chosen = np.linspace(0, image_set.num_classes - 1, num_classes).round().astype(np.int64)
    starts, sizes = image_set.class_starts[chosen], image_set.class_sizes[chosen]
    rows = np.concatenate([np.arange(first, first + size) for first, size in zip(starts, sizes, strict=True)])
    return replace(
        image_set,
        images=image_set.images[torch.from_numpy(rows)],
        class_starts=np.concatenate(([0], sizes.cumsum())),
        class_names=tuple(image_set.class_names[index] for index in chosen),
        fingerprint="",
    )


def train_plane(image_set: ImageSet, weight: float, steps: int, reporter: Reporter) -> Plane:
    """Train ``center`` with two numbers as embedding, and embed the images it was trained on."""
    recipe = Recipe(
        "fast",
        "a picture, not a result",
        None,
        0,
        steps,
        1e-2,
        "cosine",
        warmup=steps // 10,
        batch_size=min(64, len(image_set.images)),
        validate_every=steps,
        augment="ink-light",
    )
    options, shape = {"center_weight": weight}, image_set.image_shape
    method = build_method("center", options, "conv4-linear", {"outputs": 2}, shape, 0, image_set.num_classes)
    sampler = ClassBatchSampler(image_set, recipe.batch_size or 1, seed=0)
    nothing_to_choose = Interval(0.0, 0.0, 1)
    train(
        place(method, torch.device("cpu")),
        sampler,
        recipe,
        lambda _: nothing_to_choose,
        on_progress=lambda progress: reporter.training_progress(replace(progress, validation=None)),
    )
    embeddings = embed_all(method, image_set.images, "fp32").numpy()
    return Plane(weight, embeddings, method.state_dict()["criterion.centers"].numpy())
