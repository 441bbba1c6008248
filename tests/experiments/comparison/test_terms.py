"""comparison@v1: one budget, one encoder and one test for every method, and what breaks that is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as replaced

from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.experiments.comparison import terms as terms_module
from fewshot.experiments.comparison.terms import Budget, terms_named
from fewshot.experiments.config import RunConfig
from fewshot.experiments.run import run_without_test
from fewshot.models.batches import LabeledImages, episode_images
from fewshot.models.methods import METHODS
from fewshot.records.record import read_record
from fewshot.reports.frame import leaderboard_frame
from fewshot.training.recipes import images_encoded
from fewshot.training.step import loss_of
from registered import build, variants
from shaped import Shaped
from toy_classes import QUICK, FewStrokes, NoTest, toy_set
from toy_runs import run

NAME = "comparison@v1"
TERMS = terms_named(NAME)
TRAINED = [name for name in METHODS if METHODS.get(name).trains_on != "nothing"]


@pytest.fixture
def of_few_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget for the images that tests have."""
    budget = Budget(images=200, validations=2, trials=2, trial_share=0.5, augmentations=("none", "ink"))
    terms = replaced(TERMS, episodes=10, budgets={**TERMS.budgets, "strokes-standard-28-c50": budget})
    monkeypatch.setattr(terms_module, "all_terms", lambda: {NAME: terms})


@pytest.mark.parametrize("dataset", ["omniglot", "miniimagenet"])
@pytest.mark.parametrize("model", TRAINED)
def test_every_method_gets_the_same_images_to_within_one_step(model: str, dataset: str) -> None:
    data = Shaped(dataset)
    budget = TERMS.budget_of(data)
    for shot in (1, 5):
        resolved = RunConfig(model=model, dataset=dataset, shot=shot, terms=NAME).resolve(data, test=False)
        assert resolved.training is not None
        recipe = resolved.training.recipe
        a_step = images_encoded(recipe, model, resolved.config.model_options)
        assert resolved.images() == recipe.train_episodes * a_step
        assert 0 <= budget.images - resolved.images() < a_step
        assert -(-recipe.train_episodes // recipe.validate_every) == budget.validations
        assert resolved.config.encoder == TERMS.encoder_of(model)
        assert not resolved.training.shortened
        usual = replace(resolved.config, terms=None).resolve(data, test=False).training
        assert usual is not None
        ratio = recipe.train_episodes / usual.recipe.train_episodes
        assert recipe.warmup == round(usual.recipe.warmup * ratio)


@pytest.mark.parametrize("variant", [v for v in variants() if v[0] in TRAINED], ids=str)
def test_as_many_images_are_counted_as_a_training_step_sends_through_an_encoder(variant: Any) -> None:
    """Counted by a hook on every encoder of a method; of self-supervised methods and of MAML images pass repeatedly."""
    method, passed = build(variant).train(), list[int]()
    encoders = [method.encoder, getattr(method, "query_encoder", None)]
    for encoder in filter(None, encoders):
        encoder.register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    image_set, unlabeled = toy_set(per_class=10), 2 if method.uses_unlabeled else None
    recipe = replace(QUICK, train_shot=2, unlabeled=unlabeled, distractors=unlabeled and 1)
    if method.trains_on == "images":
        recipe = replace(recipe, train_way=None, train_shot=None, batch_size=12)
        batch: Any = LabeledImages(image_set.images[:12], image_set.class_ids[:12]).times(method.views)
    else:
        spec = EpisodeSpec(4, 2, QUICK.train_query, recipe.unlabeled or 0, recipe.distractors or 0)
        batch = episode_images(image_set.images, EpisodeSampler(image_set, spec, 0)[0])
    loss_of(method, batch, False)
    assert sum(passed) == images_encoded(recipe, *variant)


def test_the_final_test_has_episodes_that_nobody_chose() -> None:
    digest = hashlib.sha256(TERMS.seed_of.encode()).hexdigest()
    assert TERMS.episode_seed == int(digest[:8], 16) != RunConfig().episode_seed
    assert TERMS.seed_of.startswith(NAME)


def test_every_method_that_needs_another_encoder_is_named_with_the_reason() -> None:
    others = {name for name in TRAINED if METHODS.get(name).default_encoder != TERMS.encoder}
    assert others == TERMS.encoders.keys()
    for name, exception in TERMS.encoders.items():
        assert exception.encoder == METHODS.get(name).default_encoder
        assert exception.because


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"train_episodes": 9, "query": 3}, "leave out --train-episodes, --query"),
        ({"recipe": "paper"}, "leave out --recipe"),
        ({"recipe": QUICK, "episodes": 30}, "leave out --recipe, --episodes"),
        ({"episode_seed": 5, "init": Path("weights")}, "leave out --init, --episode-seed"),
        ({"encoder_options": {"width": 128}}, "leave out --width"),
        ({"encoder": "conv4-gaussian"}, "has model proto with --encoder conv4, not conv4-gaussian"),
        ({"terms": "comparison@v0"}, "unknown terms 'comparison@v0'. Did you mean 'comparison@v1'"),
        ({"model": "untrained"}, "untrained is not trained: leave out .*--terms"),
    ],
)
def test_what_breaks_the_terms_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(RunConfig(terms=NAME), **said).checked()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"augment": "photo"}, "unknown augmentation of comparison@v1 'photo'"),
        ({"train_way": 30, "train_query": 8}, "takes 270 images and comparison@v1 gives 200 in all"),
        ({"damage": 0.5}, "no budget for strokes-standard-28-c50-damaged-50; it has one for omniglot-vinyals-28"),
    ],
)
@pytest.mark.usefixtures("of_few_strokes")
def test_what_breaks_the_terms_on_these_images_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunConfig(terms=NAME, **said).resolve(NoTest(), test=False)


@pytest.mark.usefixtures("of_few_strokes")
def test_a_run_within_the_terms_says_so_in_identity_record_and_leaderboard(tmp_path: Path) -> None:
    config = RunConfig(model="softmax", terms=NAME, batch_size=20, device="cpu", precision="fp32")
    within, without = (replace(config, terms=name).resolve(FewStrokes(), test=False) for name in (NAME, None))
    assert within.identity()["terms"] == NAME
    assert "terms" not in without.identity()
    record, path = run(config, FewStrokes(), tmp_path)
    assert record.trained.terms == read_record(path).trained.terms == NAME
    assert (record.episode_seed, record.num_episodes) == (TERMS.episode_seed, 10)
    assert record.trained.recipe.train_episodes == 200 // 20
    assert "--terms comparison@v1" in record.command
    assert leaderboard_frame([record])["terms"].tolist() == [NAME]
    other = replaced(record, trained=replaced(record.trained, terms=""), date="2099")
    assert sorted(leaderboard_frame([record, other])["terms"].fillna("").tolist()) == ["", NAME]


def test_a_share_of_the_budget_shortens_the_whole_schedule_and_is_kept_apart(tmp_path: Path) -> None:
    config = RunConfig(recipe=replace(QUICK, schedule="halving", halve_every=10), device="cpu", precision="fp32")
    whole = config.resolve(NoTest(), test=False).training
    third = replace(config, budget=1 / 3).resolve(NoTest(), test=False).training
    assert whole is not None
    assert third is not None
    names = ("train_episodes", "warmup", "halve_every", "validate_every")
    assert [getattr(whole.recipe, name) for name in names] == [30, 3, 10, 10]
    assert [getattr(third.recipe, name) for name in names] == [10, 1, 3, 3]
    assert (whole.shortened, third.shortened) == (False, True)
    log = run_without_test(replace(config, budget=0.5, encoder_options={"width": 8}), NoTest(), tmp_path)
    assert log.trained.shortened
    assert log.images == 15 * 4 * 3
