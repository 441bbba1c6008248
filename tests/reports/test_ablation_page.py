"""results/ablation.md, and the trainings of results/ablation.toml that it is made of."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fewshot.experiments.sweep.plan import jobs_of, read_plan
from fewshot.records.record import RunRecord
from fewshot.records.schema import StoredRecipe
from fewshot.reports.frame import as_tuned, leaderboard_frame
from fewshot.reports.leaderboard import headline
from fewshot.reports.pages.ablation import PARTS, ablation_files, part_between, planned
from fewshot.training.recipes import Recipe
from omniglot_records import of_omniglot
from records import changed
from shaped import Shaped

_STORED = {"turns": "support_rotation"}
PLAN = Path(__file__).parents[2] / "results" / "ablation.toml"
TERMS = "comparison@v1"
WITH: dict[str, Any] = {
    "train_way": 60,
    "support_rotation": True,
    "optimizer": "muon",
    "weight_decay": 1.0,
    "augment": "flip",
}
WITHOUT: dict[str, dict[str, Any]] = {
    "support rotation": {"support_rotation": False},
    "Muon": {"optimizer": None, "weight_decay": 0.0},
    "flips": {"augment": None},
    "more classes in an episode": {"train_way": 20, "train_episodes": 9000, "warmup": 600, "validate_every": 1500},
}


def recipe_of(**changes: Any) -> StoredRecipe:
    return msgspec.structs.replace(of_omniglot().trained.recipe, **(WITH | changes))


def record_of(accuracy: float, seed: int = 0, terms: str = TERMS, model: str = "proto", **changes: Any) -> RunRecord:
    return of_omniglot(accuracy, model=model, trained={"recipe": recipe_of(**changes), "seed": seed, "terms": terms})


def rows_of(records: list[RunRecord]) -> list[list[str]]:
    lines = str(ablation_files(records, PLAN)["ablation.md"]).splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| proto")]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_told_where_it_alone_differs_and_from_the_recipe_that_has_it(part: str) -> None:
    with_it, without = recipe_of(), recipe_of(**WITHOUT[part])
    assert part_between(with_it, without) == part
    assert part_between(without, with_it) is None
    assert part_between(with_it, with_it) is None
    assert part_between(with_it, recipe_of(**WITHOUT[part], learning_rate=0.5)) is None


def test_another_augmentation_is_not_the_absence_of_flips() -> None:
    assert part_between(recipe_of(), recipe_of(augment="photo")) is None


@pytest.mark.parametrize(
    ("seeds", "verdict"),
    [(3, "helps"), (1, "one seed each: no finding"), (2, "2 seeds each: no finding")],
)
def test_a_part_helps_only_where_three_seeds_of_both_say_so(seeds: int, verdict: str) -> None:
    records = [
        record
        for seed in range(seeds)
        for record in (record_of(0.9, seed), record_of(0.8, seed, support_rotation=False))
    ]
    (row,) = rows_of(records)
    assert row[:2] == ["proto", "support rotation"]
    assert row[-2].strip("*").startswith("+10.00 ± ")
    assert row[-2].startswith("**") == (seeds == 3), "a finding is bold"
    assert row[-1] == verdict
    (worse,) = rows_of([record_of(0.8), record_of(0.9, support_rotation=False)])
    assert worse[-2].startswith("-10.00 ± ")


def test_rows_of_other_methods_other_terms_or_none_make_no_pair() -> None:
    assert rows_of([record_of(0.9), record_of(0.8, support_rotation=False, model="matching")]) == []
    assert rows_of([record_of(0.9), record_of(0.8, support_rotation=False, terms="comparison@v0")]) == []
    assert ablation_files([record_of(0.9, terms=""), record_of(0.8, terms="", support_rotation=False)], PLAN) == {}


def test_a_variant_stands_beside_its_method_and_never_for_it() -> None:
    def proto(accuracy: float, **changes: Any) -> RunRecord:
        made = record_of(accuracy, **{"train_way": 120, "augment": None} | changes)
        return changed(made, history=msgspec.structs.replace(made.history, val_accuracy=accuracy))

    as_it_is, variants = proto(0.90), [proto(0.95, **WITHOUT[part]) for part in PARTS if part != "flips"]
    variants.append(proto(0.95, augment="flip"))
    assert [as_tuned(record) for record in (as_it_is, *variants)] == [True, False, False, False, False]
    for variant in variants:
        (section, *_) = headline(leaderboard_frame([as_it_is, variant]))
        assert section.table is not None
        assert section.table["5-way 1-shot"].str.startswith("90.00").all()


def test_before_anything_is_measured_the_page_says_what_is_planned(tmp_path: Path) -> None:
    page = str(ablation_files([record_of(0.9)], PLAN)["ablation.md"])
    assert "Nothing of this is measured yet" in page
    assert "These 96 trainings are planned" in page
    assert "| support rotation | Omniglot | proto | --turns | --no-turns | 6, seeds 0, 1, 2 |" in page
    table, trainings = planned(PLAN)
    assert {*table["part"]} == {*PARTS}
    assert sum(int(words.partition(",")[0]) for words in table["trainings"]) == trainings
    without = str(ablation_files([record_of(0.9)], tmp_path / "ablation.toml")["ablation.md"])
    assert "Nothing of this is measured yet" in without
    assert "planned" not in without
    measured = str(ablation_files([record_of(0.9), record_of(0.8, support_rotation=False)], PLAN)["ablation.md"])
    assert "not measured" not in measured.lower()
    assert "are planned" not in measured


def test_every_part_is_on_and_off_in_the_planned_trainings_with_three_seeds_and_nothing_else_differs() -> None:
    recipes: dict[tuple[str, str, int], dict[str, Recipe]] = {}
    for job in jobs_of(read_plan(PLAN)):
        assert job.config.terms == TERMS
        training = job.config.resolve(Shaped(job.config.dataset or ""), test=False).training
        assert training is not None
        key = (job.config.dataset or "", job.config.model, job.config.seed)
        recipes.setdefault(key, {})[repr(training.recipe)] = training.recipe
    assert {seed for _, _, seed in recipes} == {0, 1, 2}
    of_losses = {"Muon", "flips"}
    for (_, model, _), found in recipes.items():
        stored = [StoredRecipe(**{_STORED.get(name, name): of for name, of in vars(r).items()}) for r in found.values()]
        parts = {part for pair in permutations(stored, 2) if (part := part_between(*pair)) is not None}
        assert parts == ({*PARTS} if model == "proto" else of_losses)
    assert {key[:2] for key in recipes} == {
        (dataset, model) for dataset in ("omniglot", "miniimagenet") for model in ("proto", "supcon", "triplet")
    }
