"""RunConfig: everything that decides what is trained and what is measured, and the hash that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from episodes.augment import AUGMENTATIONS
from episodes.datasets.base import Dataset
from episodes.errors import UserError
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.models.encoders.library import find_encoder
from fewshot.models.factory import InitialWeights
from fewshot.models.hardware import Precision
from fewshot.models.methods import METHODS, Method
from fewshot.models.options import check_choice, departures
from fewshot.training.optimizers import ADAM, OPTIMIZERS
from fewshot.training.recipes import Recipe

TRAINING_VERSION = 1
"""Raise it whenever the training code would give other weights for the same configuration.

Rounding does not count: another device or another PyTorch rounds otherwise, too.
"""
DEFAULT_UNLABELED = 5
"""Unlabeled images per class (Ren et al. 2018, section 5.1), where a semi-supervised method is run without a number."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what is trained and what is measured."""

    recipe: Recipe
    model: str = "proto"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    encoder: str | None = None  # the method's own default
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    way: int = 5
    shot: int = 1
    query: int = 15
    episodes: int = 10_000
    episode_seed: int = 0
    seed: int = 0
    runs: bool = False  # tested on Lake's 20 published runs, 20-way 1-shot, in place of episodes drawn here
    shortened: bool = False  # fewer training episodes than the recipe says
    initial: InitialWeights | None = None  # of the encoder; None: drawn by the seed
    device: str = "auto"
    precision: str = "auto"
    compiled: bool = False  # training steps through PyTorch's compiler

    @property
    def spec(self) -> EpisodeSpec:
        """The shape of a test episode."""
        return EpisodeSpec(self.way, self.shot, self.query, self.recipe.unlabeled or 0, self.recipe.distractors or 0)


def resolve(config: RunConfig, train_set: ImageSet, val_set: ImageSet) -> RunConfig:
    """The configuration with every open place filled, options reduced to those that depart from the defaults.

    Raises UserError for an unknown name or option.
    """
    recipe, method_class = config.recipe, METHODS.get(config.model)
    if recipe.unlabeled and not method_class.uses_unlabeled:
        raise UserError(f"model {config.model} makes no use of unlabeled images: leave out --unlabeled")
    if method_class.uses_unlabeled and not recipe.unlabeled:
        recipe = replace(recipe, unlabeled=DEFAULT_UNLABELED)
    encoder = config.encoder or method_class.default_encoder
    on_images = method_class.trains_on == "images"
    if recipe.augment is not None:
        chosen = check_choice("augmentation", recipe.augment, ("none", *AUGMENTATIONS))
        recipe = replace(recipe, augment=None if chosen == "none" else chosen)
    if on_images:
        recipe = _fitted_batches(recipe, config.model, method_class, train_set)
    elif recipe.batch_size or recipe.per_class:
        raise UserError(f"model {config.model} trains on episodes: leave out --batch-size and --per-class")
    if recipe.turns and (on_images or method_class.adapts):
        raise UserError(f"model {config.model} does not divide embeddings into support and queries: leave out --turns")
    if config.compiled and method_class.adapts:
        raise UserError(f"model {config.model} takes gradients of gradients, which do not compile: leave out --compile")
    if recipe.optimizer is not None:
        chosen = check_choice("optimizer", recipe.optimizer, OPTIMIZERS)
        recipe = replace(recipe, optimizer=None if chosen == ADAM else chosen)
    train_shot = recipe.train_shot or config.shot
    val_shot = recipe.val_shot or train_shot
    val_images_left = int(val_set.class_sizes.min()) - val_shot - (recipe.unlabeled or 0)
    return replace(
        config,
        encoder=encoder,
        model_options=departures(method_class, config.model_options, f"model {config.model}"),
        encoder_options=departures(find_encoder(encoder), config.encoder_options, f"encoder {encoder}"),
        recipe=replace(
            recipe,
            turns=recipe.turns or None,
            train_way=None if on_images else recipe.train_way or min(config.way, train_set.num_classes),
            train_shot=None if on_images else train_shot,
            val_way=min(recipe.val_way or config.way, val_set.num_classes)
            if on_images
            else recipe.val_way or min(config.way, val_set.num_classes),
            val_query=max(1, min(recipe.val_query, val_images_left)),
        ),
    )


def _fitted_batches(recipe: Recipe, model: str, method_class: type[Method], train_set: ImageSet) -> Recipe:
    """Batches no larger than the training set; nothing of the test's way and shot, so that all tests share a training.

    Raises UserError for choices that belong to episodes, and for batches by class where no label may be used.
    """
    if recipe.train_way or recipe.train_shot:
        raise UserError(f"model {model} trains on batches of images: leave out --train-way and --train-shot")
    if method_class.self_supervised and recipe.per_class:
        raise UserError(f"model {model} uses no labels, which batches by class would need: leave out --per-class")
    assert recipe.batch_size is not None
    if recipe.per_class is None:
        return replace(recipe, batch_size=min(recipe.batch_size, len(train_set.images)))
    per_class = min(recipe.per_class, int(train_set.class_sizes.min()))
    num_classes = max(1, min(recipe.batch_size // per_class, train_set.num_classes))
    return replace(recipe, per_class=per_class, batch_size=num_classes * per_class)


def training_identity(
    config: RunConfig, dataset: Dataset, train_set: ImageSet, val_set: ImageSet, precision: Precision
) -> dict[str, Any]:
    """What decides the trained weights, and nothing else: two runs with one identity share one training."""
    identity: dict[str, Any] = {
        "model": config.model,
        "model_options": dict(config.model_options),
        "encoder": config.encoder,
        "encoder_options": dict(config.encoder_options),
        "pixels": dataset.protocol_name,
        "train_images": train_set.fingerprint,
        "val_images": val_set.fingerprint,
        "recipe": {name: value for name, value in asdict(config.recipe).items() if value is not None},
        "seed": config.seed,
        "precision": precision,
        "version": TRAINING_VERSION,
    }
    if config.compiled:  # named only where it is so: other weights, by rounding
        identity["compiled"] = True
    return identity if config.initial is None else identity | {"init": config.initial.description}
