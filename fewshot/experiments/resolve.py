"""From a RunConfig to a training that can begin: every check, every open place, and the identity of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from episodes.augment import AUGMENTATIONS
from episodes.datasets.base import Dataset
from episodes.datasets.cards import DATASETS
from episodes.datasets.corruption import corrupted, corrupted_share
from episodes.datasets.omniglot.oneshot_runs import oneshot_runs
from episodes.errors import UserError
from episodes.registry import origins
from episodes.sampler import EpisodeSampler
from episodes.spec import RUNS, EpisodeSpec
from episodes.types import ImageSet, Split
from fewshot.experiments.comparison.terms import terms_named
from fewshot.experiments.measure import EvaluationPlan, readouts_named, refuse_unreadable
from fewshot.models.encoders.library import find_encoder
from fewshot.models.encoders.pretrained import Lite0, PretrainedWeights, find_weights
from fewshot.models.factory import InitialWeights, initial_weights
from fewshot.models.hardware import PRECISIONS, Precision, check_device, choose_device, choose_precision
from fewshot.models.methods import METHODS, Method
from fewshot.models.options import OptionError, check_choice, checked_options, non_default_options, options_of
from fewshot.progress import Reporter
from fewshot.records.provenance import commit, short_hash
from fewshot.training.logs import check_logs
from fewshot.training.optimizers import ADAM, OPTIMIZERS, WEIGHT_DECAY
from fewshot.training.recipes import RECIPES, Recipe, find_recipe, images_encoded, recipe_fields

if TYPE_CHECKING:
    from fewshot.experiments.config import CommonConfig, RunConfig

TRAINING_VERSION = 1
"""Raise it whenever the training code would give other weights for the same configuration.

Rounding does not count: another device or another PyTorch rounds otherwise, too.
"""
DEFAULT_UNLABELED = 5
"""Unlabeled images per class (Ren et al. 2018, section 5.1), where a semi-supervised method is run without a number."""
NO_TRAINING = {"name": "none", "source": "nothing is trained", "train_episodes": 0}
"""In the place of a recipe, in checkpoint and record."""
PRETRAINED = "pretrained"
"""The model that is tested where an encoder comes with weights and none is named."""
TRAINED_ON: tuple[Split, Split] = ("train", "val")


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What is trained on which images, nothing open."""

    recipe: Recipe
    shortened: bool  # fewer training episodes than the recipe says
    train_set: ImageSet
    val_set: ImageSet
    initial: InitialWeights | None = None  # of the encoder; None: drawn by the seed


@dataclass(frozen=True, eq=False)
class ResolvedRun:
    """A configuration on its data, every place of it filled.

    ``training`` is None where nothing is trained, ``test`` where nothing is tested.
    """

    config: RunConfig
    dataset: Dataset
    device: torch.device
    precision: Precision
    test: EvaluationPlan | None
    training: TrainingPlan | None
    pretrained: PretrainedWeights | None = None  # of the encoder, from elsewhere

    def identity(self) -> dict[str, Any]:
        """What decides the weights, and nothing else: two runs with one identity share one training."""
        config, training = self.config, self.training
        identity: dict[str, Any] = {
            "model": config.model,
            "model_options": dict(config.model_options),
            "encoder": config.encoder,
            "encoder_options": dict(config.encoder_options),
            "pixels": self.dataset.protocol_name,
            "recipe": NO_TRAINING,
            "seed": config.seed,
        }
        encoder = find_encoder(config.encoder or METHODS.get(config.model).default_encoder)
        packages = origins(model=METHODS.get(config.model), encoder=encoder)
        if packages:  # other sources, other weights; images have their fingerprints
            identity["packages"] = packages
        if self.pretrained is not None:
            identity["pretrained"] = self.pretrained.description
        if training is None:
            return identity
        identity |= {
            "recipe": {name: value for name, value in asdict(training.recipe).items() if value is not None},
            "train_images": training.train_set.fingerprint,
            "val_images": training.val_set.fingerprint,
            "precision": self.precision,
            "version": TRAINING_VERSION,
        }
        if config.compiled:  # named only where it is so: other weights, by rounding
            identity["compiled"] = True
        if config.terms is not None:
            identity["terms"] = config.terms
        return identity if training.initial is None else identity | {"init": training.initial.description}

    def images(self) -> int:
        """How many images the training sends through the encoder."""
        assert self.training is not None
        recipe = self.training.recipe
        return recipe.train_episodes * images_encoded(recipe, self.config.model, self.config.model_options)

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says of where it comes from, its training history apart."""
        dataset = self.dataset
        return self.identity() | {
            "image_shape": list(dataset.image_shape),
            "dataset": dataset.name,
            "class_split": dataset.class_split,
            "damage": corrupted_share(dataset),
            "shortened": self.training is not None and self.training.shortened,
            "commit": commit(),
        }

    def folder(self, out: Path) -> Path:
        """Where the checkpoint lies under ``out``: named for the identity."""
        identity = self.identity()
        name = f"{self.config.model}-{self.dataset.protocol_name}-{identity['recipe']['name']}"
        return out / "checkpoints" / f"{name}-{short_hash(identity)}"


def checked(config: RunConfig) -> RunConfig:
    """See RunConfig.checked."""
    if config.terms is not None:
        config = terms_named(config.terms).held_by(config)
    method_class = METHODS.get(config.model)
    encoder = config.encoder or method_class.default_encoder
    if isinstance(config.recipe, str):
        check_choice("recipe", config.recipe, RECIPES)
    refuse_unreadable(config.model, method_class, readouts_named(config.readout))
    check_hardware(config)
    check_logs(config.log)
    if config.optimizer is not None:
        check_choice("optimizer", config.optimizer, OPTIMIZERS)
    if config.augment is not None:
        check_choice("augmentation", config.augment, ("none", *AUGMENTATIONS))
    model_options = non_default_options(method_class, config.model_options, f"model {config.model}")
    encoder_options = non_default_options(find_encoder(encoder), config.encoder_options, f"encoder {encoder}")
    if both := encoder_options.keys() & options_of(method_class).keys():
        raise OptionError(f"model {config.model} decides its encoder's {min(both)}: give it to the model alone")
    if config.model == PRETRAINED and not has_pretrained_weights(encoder, config.weights):
        raise UserError("model pretrained needs weights: --encoder lite0, or --encoder timm:NAME with --weights FILE")
    if config.init is not None and config.weights is not None:
        raise UserError("--init and --weights both say how the encoder begins: leave out one")
    beside = config.changed().keys() & {"init", "compiled", "recipe", "budget", "terms"}
    of_training = [*config.overrides(), *sorted(beside)]
    refuse_for_untrained(config.model, of_training)
    if config.compiled and method_class.adapts:
        raise UserError(f"model {config.model} takes gradients of gradients, which do not compile: leave out --compile")
    config = config.as_protocol()
    return replace(config, encoder=encoder, model_options=model_options, encoder_options=encoder_options)


def has_pretrained_weights(encoder: str, weights: Path | None) -> bool:
    """Whether the encoder gets weights from elsewhere."""
    return weights is not None or issubclass(find_encoder(encoder), Lite0)


def check_hardware(config: CommonConfig) -> None:
    """Raises UserError for a device or a precision that there is not."""
    check_device(config.device)
    check_choice("precision", config.precision, PRECISIONS)


def refuse_for_untrained(model: str, fields: Sequence[str]) -> None:
    """Raises UserError where a model that is never trained is told how to be."""
    if fields and METHODS.get(model).trains_on == "nothing":
        flags = ", ".join("--compile" if name == "compiled" else f"--{name.replace('_', '-')}" for name in fields)
        raise UserError(f"model {model} is not trained: leave out {flags}")


def refuse_options_of_test(config: RunConfig) -> None:
    """Raises UserError where a run without a test is told how to test."""
    if fields := [name for name in config.of_test if name in config.changed()]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in fields)
        raise UserError(f"nothing is tested: leave out {flags}")


def resolve(config: RunConfig, dataset: Dataset, reporter: Reporter | None = None, *, test: bool = True) -> ResolvedRun:
    """See RunConfig.resolve."""
    reporter = reporter or Reporter()
    if not corrupted_share(dataset):
        dataset = corrupted(dataset, config.damage)
    asked = _naming(config.as_protocol(), dataset)
    config = checked(with_options_of_recipe(asked, dataset.name))
    assert config.encoder is not None
    pretrained = find_weights(config.encoder, config.weights, config.encoder_data)
    runs = oneshot_runs(dataset) if config.protocol == RUNS else None  # refuses before anything is decoded
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    training = _training_plan(config, dataset, reporter)
    if not test:
        return ResolvedRun(config, dataset, device, precision, None, training, pretrained)
    sampler = runs or EpisodeSampler(
        _loaded(dataset, "test", reporter), _test_spec(config, training), config.episode_seed
    )
    num_episodes = config.num_episodes(config.recipe if isinstance(config.recipe, str) else config.recipe.name)
    command = replace(asked, log=()).to_command()  # a record is the same with logs and without
    plan = EvaluationPlan(dataset, [sampler], num_episodes, precision, readouts_named(config.readout), command)
    return ResolvedRun(config, dataset, device, precision, plan, training, pretrained)


def _loaded(dataset: Dataset, split: Split, reporter: Reporter) -> ImageSet:
    image_set = dataset.load(split, reporter.data_progress)
    if fits := dataset.what_fits(image_set):
        reporter.say(fits)
    return image_set


def _naming(config: RunConfig, dataset: Dataset) -> RunConfig:
    """The configuration with the name of its data set, so that its command opens the same one."""
    if config.dataset is not None:
        if config.dataset in DATASETS and config.dataset != dataset.name:
            raise UserError(f"the configuration is of {config.dataset} and the images are those of {dataset.name}")
        return config
    named = dataset.name in DATASETS and dataset.name != "folder"
    split = dataset.class_split if dataset.class_split != dataset.card.class_splits[0] else None
    side = dataset.image_shape[-1]
    return replace(
        config,
        dataset=dataset.name if named else str(dataset.location()),
        class_split=split,
        size=side if side in dataset.sizes and side != dataset.card.image_shape[-1] else config.size,
        damage=corrupted_share(dataset) or None,
    )


def _training_plan(config: RunConfig, dataset: Dataset, reporter: Reporter) -> TrainingPlan | None:
    """The recipe on its images; None where nothing is trained. What the model does not read is refused before."""
    recipe, shortened = recipe_of(config, dataset.name)
    if recipe is None:
        return None
    train_set, val_set = (_loaded(dataset, split, reporter) for split in TRAINED_ON)
    initial = None if config.init is None else initial_weights(config.init)
    recipe = fitted(recipe, METHODS.get(config.model), config.way, config.shot, train_set, val_set)
    return TrainingPlan(within_budget(recipe, config, dataset), shortened, train_set, val_set, initial)


def within_budget(recipe: Recipe, config: RunConfig, dataset: Dataset) -> Recipe:
    """The recipe, nothing of it open, as long as the terms of a comparison and the share of a budget make it."""
    if config.terms is not None:
        recipe = terms_named(config.terms).fitted(recipe, dataset, config.model, config.model_options)
    if config.budget is not None:
        recipe = recipe.lasting(max(1, round(config.budget * recipe.train_episodes)))
    return recipe


def recipe_of(config: RunConfig, dataset: str) -> tuple[Recipe | None, bool]:
    """The recipe with what the configuration changes in it, and whether that shortens it; None: nothing is trained.

    Raises UserError for what the model does not read.
    """
    method_class = METHODS.get(config.model)
    if method_class.trains_on == "nothing":
        return None, False
    recipe = config.recipe
    if isinstance(recipe, str):
        name = check_choice("recipe", recipe, RECIPES)
        recipe = find_recipe(name, dataset, config.shot, config.model, config.way, config.encoder, config.terms)
    unread = [name for name in ("train_query", "labeled_share") if getattr(config, name) is not None]
    if unread and method_class.trains_on == "images":
        flag = unread[0].replace("_", "-")
        raise UserError(f"model {config.model} trains on batches of images, all with their labels: leave out --{flag}")
    shortened = (config.train_episodes or recipe.train_episodes) < recipe.train_episodes or (config.budget or 1) < 1
    config = with_its_decay(config, recipe.optimizer)
    recipe = allowed(replace(recipe, **config.overrides()), config.model, method_class)
    encoder = config.encoder or method_class.default_encoder
    if recipe.half_size and not find_encoder(encoder).takes_half_size:
        if config.half_size:
            raise UserError(f"encoder {encoder} takes images of one size: leave out --half-size")
        recipe = replace(recipe, half_size=None)  # what a recipe says is for encoders that can
    return recipe, shortened


def with_its_decay(config: RunConfig, present: str | None) -> RunConfig:
    """The configuration with the weight decay of its optimizer, where that comes in the place of a recipe's other one.

    A weight decay that is said stays: the number of one optimizer means something else to another.
    """
    if config.optimizer in (None, present or ADAM) or config.weight_decay is not None:
        return config
    return replace(config, weight_decay=WEIGHT_DECAY[check_choice("optimizer", config.optimizer, OPTIMIZERS)])


def with_options_of_recipe(config: RunConfig, dataset: str) -> RunConfig:
    """The configuration with the method's options that belong to its recipe, where it does not say them itself."""
    if not isinstance(config.recipe, str) or METHODS.get(config.model).trains_on == "nothing":
        return config
    name = check_choice("recipe", config.recipe, RECIPES)
    fields, _ = recipe_fields(name, dataset, config.shot, config.model, config.way, config.encoder, config.terms)
    return replace(config, model_options={**fields.get("options", {}), **config.model_options})


def allowed(recipe: Recipe, model: str, method_class: type[Method]) -> Recipe:
    """A recipe without words for a default. Raises UserError for what the model has no place for."""
    if recipe.unlabeled and not method_class.uses_unlabeled:
        raise UserError(f"model {model} makes no use of unlabeled images: leave out --unlabeled")
    if method_class.uses_unlabeled and not recipe.unlabeled:
        recipe = replace(recipe, unlabeled=DEFAULT_UNLABELED)
    on_images = method_class.trains_on == "images"
    if on_images and (recipe.train_way or recipe.train_shot):
        raise UserError(f"model {model} trains on batches of images: leave out --train-way and --train-shot")
    if method_class.self_supervised and recipe.per_class:
        raise UserError(f"model {model} uses no labels, which batches by class would need: leave out --per-class")
    if not on_images and (recipe.batch_size or recipe.per_class):
        raise UserError(f"model {model} trains on episodes: leave out --batch-size and --per-class")
    if recipe.turns and (on_images or method_class.adapts):
        raise UserError(f"model {model} does not divide embeddings into support and queries: leave out --turns")
    if recipe.augment is not None:
        augment = check_choice("augmentation", recipe.augment, ("none", *AUGMENTATIONS))
        recipe = replace(recipe, augment=None if augment == "none" else augment)
    if recipe.optimizer is not None:
        optimizer = check_choice("optimizer", recipe.optimizer, OPTIMIZERS)
        recipe = replace(recipe, optimizer=None if optimizer == ADAM else optimizer)
    return replace(recipe, turns=recipe.turns or None, half_size=recipe.half_size or None)


def fitted(
    recipe: Recipe, method_class: type[Method], way: int, shot: int, train_set: ImageSet, val_set: ImageSet
) -> Recipe:
    """The recipe with every open place filled from the way and shot of the test, within what the images allow."""
    on_images = method_class.trains_on == "images"
    if on_images:
        recipe = _fitted_batches(recipe, train_set)
    train_shot = recipe.train_shot or shot
    val_shot = recipe.val_shot or train_shot
    val_images_left = int(val_set.class_sizes.min()) - val_shot - (recipe.unlabeled or 0)
    val_way = recipe.val_way or min(way, val_set.num_classes)
    return replace(
        recipe,
        train_way=None if on_images else recipe.train_way or min(way, train_set.num_classes),
        train_shot=None if on_images else train_shot,
        val_way=min(val_way, val_set.num_classes) if on_images else val_way,
        val_query=max(1, min(recipe.val_query, val_images_left)),
    )


def _fitted_batches(recipe: Recipe, train_set: ImageSet) -> Recipe:
    """Batches no larger than the training set; nothing of the test's shape, so that all tests share a training."""
    assert recipe.batch_size is not None
    if recipe.per_class is None:
        return replace(recipe, batch_size=min(recipe.batch_size, len(train_set.images)))
    per_class = min(recipe.per_class, int(train_set.class_sizes.min()))
    num_classes = max(1, min(recipe.batch_size // per_class, train_set.num_classes))
    return replace(recipe, per_class=per_class, batch_size=num_classes * per_class)


def _test_spec(config: RunConfig, training: TrainingPlan | None) -> EpisodeSpec:
    """The shape of a test episode: unlabeled images and distractors are those of the training."""
    counts = (training.recipe.unlabeled, training.recipe.distractors) if training is not None else (0, 0)
    unlabeled, distractors = (number or 0 for number in counts)
    return EpisodeSpec(config.way, config.shot, config.query, unlabeled, distractors, config.dirichlet)


def divided_options(model: str, encoder: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """``model_options`` and ``encoder_options`` of a RunConfig, from the options of both.

    What only the encoder's constructor knows goes there; all others are the model's to accept or refuse.
    """
    method_class = METHODS.get(model)
    encoder = encoder or method_class.default_encoder
    encoder_class = find_encoder(encoder)
    only_encoder = options_of(encoder_class).keys() - options_of(method_class).keys()
    of_model = {name: value for name, value in options.items() if name not in only_encoder}
    of_encoder = {name: value for name, value in options.items() if name in only_encoder}
    return {
        "model_options": checked_options(method_class, of_model, f"model {model}"),
        "encoder_options": checked_options(encoder_class, of_encoder, f"encoder {encoder}"),
    }
