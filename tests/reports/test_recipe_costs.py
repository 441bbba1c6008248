"""results/recipes.md: what the fast recipes save."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fewshot.records.record import RunRecord
from fewshot.reports.pages.recipe_costs import PAGE, costs
from fewshot.training.recipes import find_recipe
from omniglot_records import of_omniglot
from records import changed

TRAINING = {"train_way": 60, "train_shot": 1, "train_query": 5, "train_episodes": 1000}
IMAGES = 60 * (1 + 5) * 1000
OF_SNELL = 60 * (1 + 5) * 20_000


def fast(accuracy: float, **changes: Any) -> RunRecord:
    """Of a test with as many queries as Snell's: such a record is comparable."""
    correct = np.bincount(np.arange(round(45_000 * accuracy)) % 600, minlength=600)  # of 75 queries an episode
    return changed(of_omniglot(recipe=TRAINING, test={"query": 15}), counts=correct, **changes)


def test_the_best_fast_training_is_held_against_number_and_length_of_the_paper() -> None:
    best = changed(fast(0.99), recipe={"learning_rate": 0.002})
    others = [fast(0.97), changed(fast(0.98), recipe={"learning_rate": 0.004})]
    (cost,) = costs([*others, best, changed(fast(1.0), recipe="paper"), fast(1.0, readout="svm")])
    assert cost.record == best
    assert cost.published is not None
    assert cost.published.accuracy == 98.8
    assert cost.reached == "yes, +0.20"
    assert (cost.images, cost.paper_images) == (IMAGES, OF_SNELL)


def test_unlabeled_images_and_distractors_count_as_images() -> None:
    training = {"train_way": 60, "train_query": 1, "train_episodes": 550, "unlabeled": 5, "distractors": 5}
    (cost,) = costs([of_omniglot(0.98, recipe=training, model="masked-proto")])
    assert cost.images == 550 * (60 * (1 + 1 + 5) + 5 * 5)
    assert cost.paper_images == 20_000 * (5 * (1 + 1 + 5) + 5 * 5)


def test_todays_fast_recipe_comes_before_an_older_one_that_was_more_accurate() -> None:
    today = find_recipe("fast", "omniglot", 1)
    names = ("train_way", "train_query", "train_episodes", "learning_rate", "optimizer", "augment")
    training = {name: getattr(today, name) for name in names} | {"support_rotation": today.turns}
    current = fast(0.97, recipe=training)
    for records in ([fast(0.99), current], [current, fast(0.99)]):
        (cost,) = costs(records)
        assert cost.record is current


@pytest.mark.parametrize(
    ("of_seeds", "said"), [((0.98,), "no, -0.80"), ((0.97, 0.98, 0.99), "within intervals, -0.80")]
)
def test_a_number_that_is_not_reached_is_said_so_unless_the_intervals_meet(
    of_seeds: tuple[float, ...], said: str
) -> None:
    """Of several seeds their mean, never the best."""
    (cost,) = costs([fast(accuracy, seed=seed) for seed, accuracy in enumerate(of_seeds)])
    assert cost.reached == said


def test_shortened_and_damaged_trainings_and_images_of_no_paper_are_left_out() -> None:
    damaged = of_omniglot(0.9, recipe=TRAINING, trained={"corruption": 0.75})
    others = fast(0.9, protocol="strokes-standard-28/5w1s/q15@v1")
    assert costs([fast(0.9, shortened=True), damaged, others]) == []
    assert PAGE.render([]) == {}


def test_where_no_paper_gives_a_recipe_there_is_no_length() -> None:
    records = [fast(0.99), fast(0.99, model="matching")]
    found = {cost.record.model: cost.paper_images for cost in costs(records)}
    assert found == {"matching": None, "proto": OF_SNELL}
    page = str(PAGE.render(records)["recipes.md"])
    assert "Of 1 cells with a published number of one protocol 1 reach it" in page
    assert "Of 1 cells whose paper gives a recipe, 1" in page
    assert "| 360,000 | 7,200,000 | 5.0 % |" in page
