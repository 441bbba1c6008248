"""The hash of a configuration: another training, another hash; the same training, the same hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from episodes.errors import UserError
from fewshot.experiments.config import RunConfig, resolve, training_identity
from fewshot.records.provenance import short_hash
from fewshot.training.recipes import Recipe
from toy_classes import QUICK, FewStrokes, toy_set
from toy_runs import CONFIG, changed_pixels


def identity_of(config: RunConfig = CONFIG, precision: Any = "fp32", **replaced: Any) -> dict[str, Any]:
    dataset = FewStrokes(**replaced)
    train_set, val_set = dataset.load("train"), dataset.load("val")
    return training_identity(resolve(config, train_set, val_set), dataset, train_set, val_set, precision)


RECIPE_CHANGES: dict[str, Any] = {
    "name": "fast",
    "source": "another",
    "train_way": 5,
    "train_query": 3,
    "train_episodes": 31,
    "learning_rate": 2e-2,
    "schedule": "halving",
    "val_way": 5,
    "train_shot": 2,
    "halve_every": 7,
    "warmup": 4,
    "weight_decay": 0.1,
    "val_query": 3,
    "val_episodes": 21,
    "validate_every": 11,
    "labeled_share": 0.5,
    "unlabeled": 3,
    "distractors": 1,
    "batch_size": 14,
    "per_class": 2,
    "val_shot": 2,
    "augment": "ink",
    "turns": True,
    "momentum": 0.5,
    "optimizer": "muon",
}
BATCHES = replace(QUICK, train_way=None, train_shot=None, batch_size=12)
CONFIG_CHANGES: dict[str, Callable[[RunConfig], RunConfig]] = {
    "model": lambda config: replace(config, model="matching"),
    "model option": lambda config: replace(config, model_options={"distance": "cosine"}),
    "encoder option": lambda config: replace(config, encoder_options={"width": 9}),
    "no encoder option": lambda config: replace(config, encoder_options={}),
    "seed": lambda config: replace(config, seed=1),
}


def test_a_change_of_every_field_of_the_recipe_is_another_training() -> None:
    assert RECIPE_CHANGES.keys() == asdict(QUICK).keys()
    hashes = [short_hash(identity_of())]
    for name, value in RECIPE_CHANGES.items():
        model = "soft-kmeans-proto" if name in ("unlabeled", "distractors") else "proto"
        base = replace(CONFIG, model=model)
        if name == "distractors":
            base = replace(base, recipe=replace(QUICK, unlabeled=2))
        if name in ("batch_size", "per_class", "augment"):
            base = replace(base, model="softmax", recipe=BATCHES)
        changed = replace(base, recipe=replace(base.recipe, **{name: value}))
        assert short_hash(identity_of(changed)) != short_hash(identity_of(base)), name
        hashes.append(short_hash(identity_of(changed)))
    assert len(set(hashes)) == len(hashes)


def test_a_training_on_images_serves_every_way_and_shot() -> None:
    config = replace(CONFIG, model="softmax", recipe=BATCHES)
    hashes = {short_hash(identity_of(replace(config, way=way, shot=shot))) for way in (2, 5) for shot in (1, 3)}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("model", "recipe", "message"),
    [
        ("softmax", replace(BATCHES, train_way=3), "softmax trains on batches of images: leave out --train-way"),
        ("nt-xent", replace(BATCHES, per_class=2), "nt-xent uses no labels, .*: leave out --per-class"),
        ("proto", replace(QUICK, batch_size=3), "proto trains on episodes: leave out --batch-size"),
    ],
)
def test_what_a_training_has_no_place_for_is_refused(model: str, recipe: Recipe, message: str) -> None:
    with pytest.raises(UserError, match=message):
        identity_of(replace(CONFIG, model=model, recipe=recipe))


def test_batches_are_cut_to_what_the_training_set_holds() -> None:
    sets = toy_set(4, 6), toy_set(split="val")
    config = replace(CONFIG, model="triplet", recipe=replace(BATCHES, batch_size=256, per_class=8))
    assert (resolve(config, *sets).recipe.batch_size, resolve(config, *sets).recipe.per_class) == (24, 6)
    plain = replace(config, model="softmax", recipe=replace(BATCHES, batch_size=256))
    assert resolve(plain, *sets).recipe.batch_size == 24


@pytest.mark.parametrize("change", sorted(CONFIG_CHANGES))
def test_a_change_of_model_encoder_option_or_seed_is_another_training(change: str) -> None:
    assert short_hash(identity_of(CONFIG_CHANGES[change](CONFIG))) != short_hash(identity_of())


def test_other_pixels_or_another_precision_are_another_training() -> None:
    hashes = {
        short_hash(identity)
        for identity in (
            identity_of(),
            identity_of(train=changed_pixels("train")),
            identity_of(val=changed_pixels("val")),
            identity_of(precision="bf16"),
        )
    }
    assert len(hashes) == 4


def test_what_only_the_test_is_about_is_no_other_training() -> None:
    """With training way and shot given by the recipe, way, query, episodes and episode seed are the test's alone."""
    expected = short_hash(identity_of())
    for change in ({"way": 3}, {"query": 2}, {"episodes": 7}, {"episode_seed": 5}, {"device": "auto"}):
        assert short_hash(identity_of(replace(CONFIG, **change))) == expected


def test_a_default_said_aloud_is_no_other_training() -> None:
    said = replace(CONFIG, model_options={"distance": "euclidean"}, encoder="conv4")
    assert short_hash(identity_of(said)) == short_hash(identity_of())
    typed = replace(CONFIG, encoder_options={"width": "8"})  # a word of the command line
    assert short_hash(identity_of(typed)) == short_hash(identity_of())


def test_the_recipe_is_filled_from_the_test_where_it_is_open() -> None:
    dataset = FewStrokes()
    train_set, val_set = dataset.load("train"), dataset.load("val")
    open_recipe = replace(QUICK, train_way=None, train_shot=None, val_way=None)
    filled = resolve(replace(CONFIG, recipe=open_recipe, way=7, shot=3), train_set, val_set).recipe
    assert (filled.train_way, filled.train_shot) == (7, 3)
    assert filled.val_way == min(7, val_set.num_classes) == 6
    assert resolve(CONFIG, train_set, val_set).recipe == QUICK


def test_an_augmentation_is_one_of_those_there_are() -> None:
    with pytest.raises(UserError, match=r"unknown augmentation 'inc'\. Did you mean 'ink'"):
        identity_of(replace(CONFIG, model="softmax", recipe=replace(BATCHES, augment="inc")))
    plain = identity_of(replace(CONFIG, model="softmax", recipe=replace(BATCHES, augment="none")))
    assert plain == identity_of(replace(CONFIG, model="softmax", recipe=BATCHES))
