"""The hash of a configuration: another training, another hash; the same training, the same hash."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from episodes.errors import UserError
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.measure import EvaluationPlan
from fewshot.experiments.resolve import ResolvedRun, TrainingPlan
from fewshot.records.provenance import short_hash
from fewshot.records.schema import Trained
from fewshot.training.checkpoints import training_name
from fewshot.training.recipes import Recipe
from records import RUNS, committed
from toy_classes import QUICK, FewStrokes, toy_set
from toy_runs import CONFIG, changed_pixels, run


def identity_of(config: RunConfig = CONFIG, precision: str = "fp32", **replaced: Any) -> dict[str, Any]:
    return replace(config, precision=precision).resolve(FewStrokes(**replaced)).identity()


def recipe_of(config: RunConfig, **replaced: Any) -> Recipe:
    training = config.resolve(FewStrokes(**replaced)).training
    assert training is not None
    return training.recipe


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
    "half_size": 0.5,
    "steps": (10, 20),
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
        recipe = replace(QUICK, unlabeled=2) if name == "distractors" else QUICK
        if name in ("batch_size", "per_class", "augment"):
            model, recipe = "softmax", BATCHES
        base = replace(CONFIG, model=model, recipe=recipe)
        changed = replace(base, recipe=replace(recipe, **{name: value}))
        assert short_hash(identity_of(changed)) != short_hash(identity_of(base)), name
        hashes.append(short_hash(identity_of(changed)))
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(("name", "decay"), [("nesterov", 5e-4), ("adam", 0.0), ("muon", 1.0), (None, 1.0)])
def test_another_optimizer_does_not_keep_the_weight_decay_of_the_recipes(name: str | None, decay: float) -> None:
    """The fast recipe of the strokes has Muon, whose decay of 1 would hold every weight at zero under SGD."""
    fast = replace(CONFIG, recipe="fast", optimizer=name)
    assert recipe_of(fast).weight_decay == decay
    assert recipe_of(replace(fast, weight_decay=0.03)).weight_decay == 0.03
    with pytest.raises(UserError, match="unknown optimizer 'sgd'"):
        recipe_of(replace(fast, optimizer="sgd"))


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
    few = {"train": toy_set(4, 6)}
    config = replace(CONFIG, model="triplet", recipe=replace(BATCHES, batch_size=256, per_class=8))
    assert (recipe_of(config, **few).batch_size, recipe_of(config, **few).per_class) == (24, 6)
    plain = replace(config, model="softmax", recipe=replace(BATCHES, batch_size=256))
    assert recipe_of(plain, **few).batch_size == 24


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
    open_recipe = replace(QUICK, train_way=None, train_shot=None, val_way=None)
    filled = recipe_of(replace(CONFIG, recipe=open_recipe, way=7, shot=3))
    assert (filled.train_way, filled.train_shot) == (7, 3)
    assert filled.val_way == min(7, FewStrokes().load("val").num_classes) == 6
    assert recipe_of(CONFIG) == QUICK


def test_an_augmentation_is_one_of_those_there_are() -> None:
    with pytest.raises(UserError, match=r"unknown augmentation 'inc'\. Did you mean 'ink'"):
        identity_of(replace(CONFIG, model="softmax", recipe=replace(BATCHES, augment="inc")))
    plain = identity_of(replace(CONFIG, model="softmax", recipe=replace(BATCHES, augment="none")))
    assert plain == identity_of(replace(CONFIG, model="softmax", recipe=BATCHES))


class Named(FewStrokes):
    """Images of which no more than their name is known."""

    def __init__(self, protocol_name: str) -> None:
        super().__init__()
        self.called = protocol_name

    @property
    def protocol_name(self) -> str:
        return self.called


def as_stored(trained: Trained) -> ResolvedRun:
    """The training that a record tells of, as it was resolved."""
    before = trained.trained_as or trained
    config = RunConfig(
        model=before.model,
        model_options=before.model_options,
        encoder=trained.encoder,
        encoder_options=trained.encoder_options,
        seed=trained.seed,
    )
    assert config.checked() == config, "an option that is stored differs from its default"
    training = None
    if trained.recipe.name != "none":
        fingerprints = trained.train_images, trained.val_images
        train_set, val_set = (replace(toy_set(), fingerprint=str(fingerprint)) for fingerprint in fingerprints)
        recipe = {field: getattr(trained.recipe, field) for field in trained.recipe.__struct_fields__}
        recipe = {"turns": recipe.pop("support_rotation")} | recipe
        said = {field: value for field, value in recipe.items() if value is not None}
        training = TrainingPlan(Recipe(**{"train_way": None, **said}), trained.shortened, train_set, val_set)
    dataset, precision = Named(trained.dataset_id), trained.precision or "fp32"
    plan = EvaluationPlan(dataset, [], 0, precision)  # type: ignore[arg-type]
    resolved = ResolvedRun(config, dataset, torch.device("cpu"), precision, plan, training)  # type: ignore[arg-type]
    return replace(resolved, config=replace(config, terms=trained.terms or None))


def test_every_committed_training_still_has_its_hash() -> None:
    """The folder of its checkpoint is named for its identity, so `fewshot run` finds it and does not train it again."""
    found = 0
    for path, record in zip(sorted(RUNS.glob("*.json")), committed(), strict=True):
        trained = record.trained
        if trained.checkpoint:
            name = training_name(Path(trained.checkpoint)).partition("-as-")[0]
            assert as_stored(trained).folder(Path("runs")).name == name, path.name
            found += 1
    assert found > 700


def test_what_a_configuration_says_of_itself_is_what_is_not_left_to_the_default() -> None:
    assert repr(RunConfig(way=20, encoder_options={"width": 8})) == "RunConfig(encoder_options={'width': 8}, way=20)"
    assert repr(EvaluateConfig()) == "EvaluateConfig()"


def test_images_of_another_data_set_than_the_configuration_names_are_refused() -> None:
    with pytest.raises(UserError, match="the configuration is of omniglot and the images are those of strokes"):
        replace(CONFIG, dataset="omniglot").resolve(FewStrokes())


def test_an_option_that_is_not_read_is_refused() -> None:
    with pytest.raises(UserError, match="gaussian-proto decides its encoder's covariance"):
        RunConfig(model="gaussian-proto", encoder_options={"covariance": "diagonal"}).checked()
    with pytest.raises(UserError, match="leave out --query, --episodes"):
        RunConfig(protocol="runs", query=3, episodes=50).checked()
    with pytest.raises(UserError, match="untrained is not trained: leave out --train-way, --recipe"):
        RunConfig(model="untrained", train_way=3, recipe="smoke").checked()
    with pytest.raises(UserError, match="leave out --compile"):
        RunConfig(model="untrained", compiled=True).checked()


def test_a_record_made_without_the_command_line_names_the_command_that_makes_it(tmp_path: Path) -> None:
    config = RunConfig(
        recipe="smoke", encoder_options={"width": 8}, way=3, query=4, episodes=10, device="cpu", precision="fp32"
    )
    record, _ = run(config, FewStrokes(), tmp_path)
    command = "fewshot run --model proto --dataset strokes --way 3 --shot 1 --query 4 --episodes 10"
    assert record.command == f"{command} --device cpu --precision fp32 --recipe smoke --width 8"
    own_recipe = replace(config, recipe=QUICK).to_command()
    words = shlex.split(own_recipe)
    assert words[:2] == ["python", "-c"]
    made: dict[str, Any] = {}
    exec(words[2].replace("run(RunConfig", "made = (RunConfig"), made)
    assert made["made"] == replace(config, recipe=QUICK)
