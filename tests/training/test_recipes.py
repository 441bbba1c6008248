from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from episodes.datasets.cards import DATASETS, Card
from episodes.errors import UserError
from fewshot.experiments.resolve import DEFAULT_UNLABELED
from fewshot.models.methods import METHODS
from fewshot.training import recipes
from fewshot.training.recipes import RECIPES, Recipe, RecipeError, RecipeName, find_recipe, read_table

HALVING = Recipe("paper", "", 60, 5, 10_000, 1e-3, "halving", halve_every=2000)
COSINE = Recipe("fast", "", 60, 5, 1000, 1e-2, "cosine", warmup=100)


@pytest.mark.parametrize(("episode", "rate"), [(0, 1e-3), (1999, 1e-3), (2000, 5e-4), (3999, 5e-4), (8000, 6.25e-5)])
def test_the_learning_rate_is_halved_every_2000_episodes(episode: int, rate: float) -> None:
    assert HALVING.learning_rate_at(episode) == pytest.approx(rate)


def test_the_cosine_rises_over_the_warmup_and_falls_to_nearly_nothing() -> None:
    rates = [COSINE.learning_rate_at(episode) for episode in range(1000)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[100] == pytest.approx(1e-2)
    assert rates[99] == pytest.approx(1e-2)
    assert rates[550] == pytest.approx(5e-3)
    assert rates[-1] < 1e-6
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_the_rate_falls_to_a_tenth_at_every_step() -> None:
    recipe = Recipe("paper", "", None, 0, 1000, 0.1, "steps", steps=(300, 600))
    rates = {299: 0.1, 300: 0.01, 599: 0.01, 600: 1e-3, 999: 1e-3}
    assert {episode: recipe.learning_rate_at(episode) for episode in rates} == pytest.approx(rates)
    assert recipe.lasting(100).steps == (30, 60)
    assert recipe.lasting(100).learning_rate_at(30) == pytest.approx(0.01)


def test_resnet12_is_trained_as_in_feats_released_code() -> None:
    recipe = find_recipe("paper", "miniimagenet", 1, "softmax", encoder="resnet12")
    assert (recipe.optimizer, recipe.weight_decay, recipe.learning_rate, recipe.batch_size) == (
        "nesterov",
        5e-4,
        1e-3,
        16,
    )
    batches_of_an_epoch = 64 * 600 // 16
    epochs = [1 + batch / batches_of_an_epoch for batch in recipe.steps or ()]
    assert (epochs, recipe.train_episodes / batches_of_an_epoch) == ([75, 150, 300], 500)
    assert find_recipe("paper", "miniimagenet", 1, "softmax", encoder="conv4").optimizer is None


def test_the_papers_recipe_of_protonet_on_omniglot() -> None:
    recipe = find_recipe("paper", "omniglot", shot=1)
    assert (recipe.train_way, recipe.train_query, recipe.learning_rate) == (60, 5, 1e-3)
    assert (recipe.schedule, recipe.halve_every, recipe.weight_decay) == ("halving", 2000, 0)


@pytest.mark.parametrize(("shot", "way"), [(1, 30), (5, 20)])
def test_the_papers_recipe_of_protonet_on_miniimagenet_depends_on_the_shot(shot: int, way: int) -> None:
    recipe = find_recipe("paper", "miniimagenet", shot)
    assert (recipe.train_way, recipe.train_query) == (way, 15)


@pytest.mark.parametrize(("way", "shot", "queries"), [(5, 1, 19), (5, 5, 15), (20, 1, 10), (20, 5, 5)])
def test_the_papers_recipe_of_relation_has_its_queries(way: int, shot: int, queries: int) -> None:
    assert find_recipe("paper", "omniglot", shot, "relation", way).train_query == queries


@pytest.mark.parametrize("shot", [1, 5])
def test_the_papers_recipe_of_gaussian_prototypes_takes_all_drawings_of_a_character(shot: int) -> None:
    recipe = find_recipe("paper", "omniglot", shot, "gaussian-proto")
    assert (recipe.train_shot, recipe.train_query) == (1, 19)


@pytest.mark.parametrize("dataset", ["omniglot", "miniimagenet", "strokes", "folder"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_itself_and_its_source(name: str, dataset: str) -> None:
    if (name, dataset) == ("paper", "folder"):
        with pytest.raises(UserError, match="use --recipe fast"):
            find_recipe("paper", dataset, 1)
        return
    recipe = find_recipe(name, dataset, 1)  # type: ignore[arg-type]
    assert recipe.name == name
    assert recipe.source


@pytest.mark.parametrize("model", [name for name in METHODS if METHODS.get(name).trains_on != "nothing"])
def test_every_fast_training_on_photos_sees_as_many_images_whatever_the_test(model: str) -> None:
    semi = DEFAULT_UNLABELED if METHODS.get(model).uses_unlabeled else 0
    for shot in (1, 5):
        recipe = find_recipe("fast", "miniimagenet", shot, model)
        of_episode = (recipe.train_way or 0) * ((recipe.train_shot or shot) + recipe.train_query + semi)
        images = recipe.train_episodes * (recipe.batch_size or of_episode) * METHODS.get(model).views
        assert images == pytest.approx(480_000, rel=0.001)


def test_a_smoke_test_is_short_and_says_what_it_is() -> None:
    recipe = find_recipe("smoke", "omniglot", 1)
    assert recipe.train_episodes <= 20
    assert "no paper" in recipe.source


def test_every_field_of_a_recipe_can_be_replaced() -> None:
    assert replace(COSINE, learning_rate=1.0).learning_rate_at(100) == pytest.approx(1.0)


def test_chens_baselines_are_trained_on_batches_of_16_for_400_epochs() -> None:
    recipe = find_recipe("paper", "miniimagenet", 1, "softmax")
    assert recipe == find_recipe("paper", "miniimagenet", 5, "cosine-softmax")
    assert recipe.train_episodes == 400 * 64 * 600 // 16
    assert (recipe.batch_size, recipe.learning_rate_at(959_999), recipe.augment) == (16, 1e-3, "photo")


@pytest.mark.parametrize("model", ["nt-xent", "triplet", "softmax", "gan"])
def test_a_smoke_test_on_images_is_of_one_kind_for_every_test(model: str) -> None:
    assert find_recipe("smoke", "strokes", 1, model, 5) == find_recipe("smoke", "strokes", 5, model, 20)


def test_kochs_twin_has_a_fast_recipe_of_its_own_and_other_encoders_change_nothing() -> None:
    plain = find_recipe("fast", "omniglot", 1, "siamese", 20)
    assert find_recipe("fast", "omniglot", 1, "siamese", 20, "conv4") == plain
    koch = find_recipe("fast", "omniglot", 1, "siamese", 20, "koch")
    assert (koch.optimizer, koch.learning_rate, koch.train_way) == (None, 1e-4, 20)
    assert koch.turns == plain.turns
    assert plain.optimizer == "muon"


@pytest.mark.parametrize("model", ["proto", "gaussian-proto", "matching"])
def test_one_training_serves_every_shot_on_omniglot(model: str) -> None:
    one, five = (find_recipe("fast", "omniglot", shot, model) for shot in (1, 5))
    assert one == five
    assert (one.train_way, one.train_shot, one.train_query) == (120, 1, 2)


@pytest.mark.parametrize("model", [name for name in METHODS.own() if METHODS.get(name).uses_unlabeled])
def test_the_fast_recipe_of_few_labels_passes_a_third_of_the_papers_images_or_less(model: str) -> None:
    def images(name: RecipeName) -> int:
        recipe = find_recipe(name, "omniglot", 1, model)
        assert recipe.train_way is not None
        return recipe.train_episodes * recipe.train_way * (1 + recipe.train_query + DEFAULT_UNLABELED)

    assert images("fast") <= images("paper") / 3


DIGESTS: dict[str, str] = json.loads(Path(__file__).with_name("recipe_digests.json").read_text(encoding="utf-8"))
"""Of all recipes as they were when the committed records were made: they are part of what names a training."""


def digest_of(name: RecipeName, dataset: str, model: str) -> str:
    """Of the recipes for every test and encoder."""
    found: list[object] = []
    for shot, way, encoder in itertools.product((1, 2, 5, 10), (5, 20), (None, "koch")):
        try:
            recipe = find_recipe(name, dataset, shot, model, way, encoder)
            found.append({field: value for field, value in asdict(recipe).items() if value is not None})
        except UserError as error:
            found.append(f"UserError: {error}")
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]


def test_no_recipe_has_moved() -> None:
    moved = [key for key, digest in DIGESTS.items() if digest_of(*key.split()) != digest]  # type: ignore[arg-type]
    assert moved == []
    assert len(DIGESTS) == 3 * 4 * 28


def test_tables_name_models_that_there_are() -> None:
    tables = recipes._tables()
    assert {"omniglot", "miniimagenet", "strokes", "folder", "shared"} <= {*tables}
    assert {name.removesuffix(".tuned") for name in tables} <= {*DATASETS, "shared"}
    named = {model for table in tables.values() for entry in table.entries for model in entry.models}
    assert named <= set(METHODS.own())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour = 1", "own.toml: unknown key 'colour'; valid: family, entry"),
        ("[[entry]]\ntrain_wya = 5", "own.toml, entry 1: unknown key 'train_wya'; valid: recipe, model, "),
        ("[[entry]]\n[[entry]]\ntrain_way = 'five'", "own.toml, entry 2: train_way: Expected `int | null`, got `str`"),
        ("[[entry]]\nschedule = 'step'", "own.toml, entry 1: schedule: Invalid enum value 'step'"),
        ("[[entry", "own.toml is no TOML: "),
    ],
)
def test_a_table_that_says_what_there_is_not_is_an_error_that_names_file_and_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(RecipeError) as raised:
        read_table(tmp_path / "own.toml")
    assert str(raised.value).startswith(complaint)


@pytest.mark.parametrize(("family", "teacher"), [("photos", "miniimagenet"), ("drawings", "omniglot")])
def test_a_data_set_without_recipes_has_those_of_its_family_and_they_say_so(
    family: str, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card("gray-noise", "", "", 2019, "nowhere:Patterns", ("standard",), (3, 32, 32), family)
    monkeypatch.setitem(DATASETS._entries, "gray-noise", card)
    for model in ("proto", "softmax"):
        theirs = find_recipe("fast", teacher, 1, model)
        source = f"this project: the recipe of {teacher}, not tuned on gray-noise"
        assert find_recipe("fast", "gray-noise", 1, model) == replace(theirs, source=source)
        assert find_recipe("smoke", "gray-noise", 1, model) == find_recipe("smoke", teacher, 1, model)
    with pytest.raises(UserError, match="no paper gives a whole recipe for proto on gray-noise: use --recipe fast"):
        find_recipe("paper", "gray-noise", 1)


def test_an_unknown_data_set_and_an_unknown_family_are_clear_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown data set 'cifarfs'\. .*Valid: .*folder, .*mini"):
        find_recipe("fast", "cifarfs", 1)
    monkeypatch.setitem(DATASETS._entries, "sounds", Card("sounds", "", "", 2026, "a:B", ("all",), (1, 9, 9), "waves"))
    with pytest.raises(UserError, match=r"family 'waves', as sounds has them; valid: drawings, folder, photos"):
        find_recipe("fast", "sounds", 1)
