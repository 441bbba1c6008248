"""Terms: what all methods of a comparison are given alike: budget, encoder, test. The rest is tuned on val."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from episodes.errors import UserError
from fewshot.models.options import check_choice
from fewshot.training.recipes import Recipe, RecipeName, images_encoded

if TYPE_CHECKING:
    from episodes.datasets.base import Dataset
    from fewshot.experiments.config import RunConfig

Positive = Annotated[int, Meta(ge=1)]


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a method is given on one data set."""

    images: Positive  # through the encoder in a training; each view and each pass counts
    validations: Positive  # looks at the validation classes in a training
    trials: Positive  # of tuning
    trial_share: Annotated[float, Meta(gt=0, le=1)]  # of the images, in each trial
    augmentations: tuple[str, ...]  # to choose from


class EncoderException(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The encoder of a method whose rule needs another one than the others have."""

    encoder: str
    because: str


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of a comparison. ``budgets`` are by data set id (``omniglot-vinyals-28``), ``encoders`` by method."""

    name: str
    recipe: RecipeName
    encoder: str
    optimizers: tuple[str, ...]
    query: Positive
    episodes: Positive
    episode_seed: int  # of the final test
    seed_of: str  # the words that it was made of
    budgets: dict[str, Budget]
    encoders: dict[str, EncoderException]

    def encoder_of(self, model: str) -> str:
        """The encoder that a method has to have."""
        return self.encoders[model].encoder if model in self.encoders else self.encoder

    def budget_of(self, dataset: Dataset) -> Budget:
        """Raises UserError where the terms have none for these images and classes."""
        if dataset.protocol_name not in self.budgets:
            known = ", ".join(self.budgets)
            raise UserError(f"{self.name} has no budget for {dataset.protocol_name}; it has one for {known}")
        return self.budgets[dataset.protocol_name]

    def held_by(self, config: RunConfig) -> RunConfig:
        """The configuration with the test of the terms. Raises UserError for what breaks them."""
        said = {**config.changed(), **config.encoder_options}
        theirs = {name: getattr(self, name) for name in ("recipe", "query", "episodes", "episode_seed")}
        of_test = [name for name in config.of_test if name != "readout"]  # frozen embeddings are read out as one likes
        fixed = ("recipe", "train_episodes", "init", "weights", *of_test, *config.encoder_options)
        if broken := [name for name in fixed if name in said and said[name] != theirs.get(name)]:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in broken)
            raise UserError(f"{self.name} says it for every method alike: leave out {flags}")
        wanted = self.encoder_of(config.model)
        if config.encoder not in (None, wanted):
            raise UserError(f"{self.name} has model {config.model} with --encoder {wanted}, not {config.encoder}")
        return replace(config, encoder=wanted, **theirs)

    def fitted(self, recipe: Recipe, dataset: Dataset, model: str, options: Mapping[str, Any]) -> Recipe:
        """The recipe, nothing of it open, over as many episodes as the budget is good for; validations evenly spread.

        Raises UserError for an optimizer or an augmentation that others have not.
        """
        budget = self.budget_of(dataset)
        check_choice(f"optimizer of {self.name}", recipe.optimizer or "adam", self.optimizers)
        check_choice(f"augmentation of {self.name}", recipe.augment or "none", budget.augmentations)
        steps = budget.images // images_encoded(recipe, model, options)
        if steps < budget.validations:
            raise UserError(
                f"a training step takes {images_encoded(recipe, model, options):,} images and {self.name} gives "
                f"{budget.images:,} in all: make it smaller"
            )
        return replace(recipe.lasting(steps), validate_every=-(-steps // budget.validations))


@cache
def all_terms() -> dict[str, Terms]:
    """All terms that there are, by name, older ones first."""
    files = (file for file in resources.files(__package__).iterdir() if file.name.endswith(".toml"))
    found = [msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Terms) for file in files]
    return {terms.name: terms for terms in sorted(found, key=lambda terms: terms.name)}


def terms_named(name: str) -> Terms:
    """Raises UserError for unknown ones."""
    return all_terms()[check_choice("terms", name, tuple(all_terms()))]
