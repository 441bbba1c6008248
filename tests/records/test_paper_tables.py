"""The papers' tables as data, and which of our records fills which cell."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from episodes.datasets.cards import DATASETS
from fewshot.cli.run import config_of, evaluate, evaluate_config, run
from fewshot.experiments.config import RunConfig
from fewshot.experiments.paper_plan import OurNumber, PaperCell, commands, fill, run_of
from fewshot.experiments.resolve import recipe_of, with_options_of_recipe
from fewshot.models.encoders.base import ENCODERS
from fewshot.models.methods import METHODS
from fewshot.models.options import checked_options, non_default_options
from fewshot.records.numbers import STATUSES
from fewshot.records.paper_tables import (
    Ours,
    PaperColumn,
    PaperRow,
    PaperTable,
    PaperTableError,
    paper_table,
    paper_table_names,
)
from fewshot.records.record import RunRecord
from fewshot.records.schema import Rule
from fewshot.training.recipes import Recipe, recipe_fields
from omniglot_records import of_omniglot
from records import changed, committed

NAMES = paper_table_names()
every_table = pytest.mark.parametrize("name", NAMES)


def cells_of_ours(name: str) -> list[PaperCell]:
    return [cell for cell in fill(paper_table(name), []) if cell.row.ours is not None]


def test_the_tables_of_these_papers_are_here() -> None:
    wanted = {"snell2017-table1", "snell2017-table2", "vinyals2016-table1", "ren2018-omniglot", "ren2018-miniimagenet"}
    wanted |= {"koch2015-table2", "lake-within-alphabet", "sung2018-table1", "sung2018-table2"}
    assert wanted | {"fort2017", "chen2019-table2"} <= set(NAMES)


@every_table
def test_every_row_has_a_published_number_and_every_table_its_differences(name: str) -> None:
    table = paper_table(name)
    assert table.differences
    for row in table.rows:
        found = [table.published(row, column) for column in table.columns]
        assert any(found), row.name
        for number in filter(None, found):
            assert number.source
            assert number.status in STATUSES
    assert len({row.name for row in table.rows}) == len(table.rows)


@every_table
def test_pixels_are_those_of_the_data_set_and_split(name: str) -> None:
    table = paper_table(name)
    entry = DATASETS.get(table.dataset)
    assert table.class_split in entry.class_splits
    assert table.pixels.startswith(f"{table.dataset}-{table.class_split}-")
    assert all(column.tolerance > 0 for column in table.columns)
    for ours in filter(None, (row.ours for row in table.rows)):
        assert int(table.pixels_of(ours).rpartition("-")[2]) in {benchmark.side for benchmark in entry.benchmarks}


@every_table
def test_models_options_and_trainings_are_ones_that_exist(name: str) -> None:
    known = {item.name for item in fields(Recipe)}
    table = paper_table(name)
    for ours, column in itertools.product(filter(None, (row.ours for row in table.rows)), table.columns):
        if ours.untrained:
            continue
        model, options = ours.tested_at(column.shot)
        # a record holds no default: it is stated where the recipe has something else, and nowhere else
        stated = options.keys() - non_default_options(METHODS.get(model), options, model).keys()
        of_recipe, _ = recipe_fields("fast", table.dataset, column.shot, model, column.way, None, None)
        assert stated <= of_recipe.get("options", {}).keys()
        assert ours.encoder or METHODS.get(ours.model).default_encoder == ours.encoder_name
        checked_options(ENCODERS.get(ours.encoder_name), ours.encoder_options, "encoder")
        assert set(ours.training) <= known
        assert set(ours.test) <= {"as", "options", "unlabeled", "damage", "query"}


@every_table
def test_every_printed_command_is_one_that_the_command_line_takes(name: str) -> None:
    for cell in cells_of_ours(name):
        assert cell.row.ours is not None
        first, *second = [shlex.split(command) for command in commands(cell)]
        config = config_of(RunConfig, run.make_context("run", first[2:]).params).checked()
        assert (config.way, config.shot) == (cell.column.way, cell.column.shot)
        assert recipe_of(config, cell.table.dataset)[0] is not None or cell.row.ours.untrained
        assert bool(second) == bool(cell.row.ours.test)
        for words in second:
            choices = evaluate.make_context("evaluate", words[2:]).params
            assert evaluate_config(choices).way == (cell.column.way,)


def test_a_printed_number_that_is_there_twice_is_an_error() -> None:
    table = paper_table("snell2017-table1")
    loose = PaperRow("both", {"method": "matching", "dataset": "omniglot", "source": "Vinyals", "table": "Table 1"})
    with pytest.raises(PaperTableError, match="2 published numbers"):
        table.published(loose, table.columns[0])


TABLE = replace(paper_table("snell2017-table1"), rows=paper_table("snell2017-table1").rows[:1])


def ours_in(records: list[RunRecord], table: PaperTable = TABLE, cell: int = 0) -> OurNumber | None:
    return fill(table, records)[cell].ours


def test_a_record_fills_its_own_cell_and_no_other() -> None:
    filled = [cell.ours is not None for cell in fill(TABLE, [of_omniglot()])]
    assert filled == [True, False, False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"shortened": True},
        {"recipe": "smoke"},
        {"model": "matching"},
        {"readout": "nearest"},
        {"num_episodes": 500},
        {"protocol": "omniglot-vinyals-28/5w1s/q15@v0"},
        {"protocol": "omniglot-lake-28/5w1s/q15@v1"},
        {"recipe": {"labeled_share": 0.1}},
        {"trained": {"model_options": {"distance": "cosine"}}},
        {"trained": {"encoder": "koch"}},
        {"trained": {"encoder_options": {"width": 8}}},
        {"trained": {"corruption": 0.5}},
        {"test": {"unlabeled": 5}},
        {"trained": {"trained_as": Rule(model="matching", model_options={})}},
    ],
    ids=str,
)
def test_what_was_trained_or_tested_otherwise_fills_no_cell(changes: dict[str, Any]) -> None:
    assert ours_in([of_omniglot(**changes)]) is None


def test_options_that_were_tuned_with_our_recipe_fill_a_row_that_names_none() -> None:
    table = paper_table("chen2019-table2")
    cell = next(cell for cell in cells_of_ours(table.name) if cell.row.name == "Baseline++")
    options = with_options_of_recipe(run_of(cell), "miniimagenet").model_options
    filled = {found.column: found.ours for found in fill(table, committed()) if found.row == cell.row}
    record = filled[cell.column].records[0]  # type: ignore[union-attr]
    assert record.trained.model_options == options != {}
    other = replace(record, trained=replace(record.trained, model_options={"scale": 2 * options["scale"]}))
    assert not any(found.ours for found in fill(table, [other]))


def test_the_papers_recipe_comes_first_then_more_seeds_whatever_the_accuracy() -> None:
    fast = [of_omniglot(0.99, seed=seed) for seed in range(2)]
    longer = [of_omniglot(0.5, recipe={"train_episodes": 9000})]
    paper = [of_omniglot(0.7, recipe="paper")]
    found = ours_in(fast + longer)
    assert found is not None
    assert found.accuracy == pytest.approx(99)
    with_paper = ours_in(fast + longer + paper)
    assert with_paper is not None
    assert with_paper.accuracy == pytest.approx(70)


def test_a_training_at_another_shot_fills_a_cell_only_until_there_is_one_at_its_own() -> None:
    other = of_omniglot(0.99, recipe={"name": "paper", "train_shot": 5})
    alone, beside = ours_in([other]), ours_in([other, of_omniglot(0.7)])
    assert alone is not None
    assert beside is not None
    assert (alone.accuracy, beside.accuracy) == pytest.approx((99, 70))
    fixed = replace(TABLE.rows[0], ours=Ours("proto", training={"train_shot": 1}))
    assert ours_in([other], replace(TABLE, rows=(fixed,))) is None


def test_seeds_are_averaged_and_the_interval_covers_them_and_the_episodes() -> None:
    counts = np.random.default_rng(0).integers(80, 95, 600)
    records = [changed(of_omniglot(seed=seed), counts=counts + seed) for seed in range(3)]
    one, three = ours_in(records[:1]), ours_in(records)
    assert one is not None
    assert three is not None
    over_episodes = stats.t.ppf(0.975, 599) * stats.sem(counts)
    assert (one.accuracy, one.ci95) == pytest.approx((counts.mean(), over_episodes))
    assert one.covers == "episodes; seed 0"
    over_seeds = 4.302653 * 1 / 3**0.5  # Student's t with 2 degrees of freedom, standard deviation 1 point
    assert three.accuracy == pytest.approx(counts.mean() + 1)
    assert three.ci95 == pytest.approx(np.hypot(over_seeds, over_episodes), rel=1e-5)
    assert three.covers == "episodes and 3 seeds"


SNELL_MINI = paper_table("snell2017-table2")


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(49.42, "matches"), (48.62, "matches"), (48.60, "below"), (50.22, "matches"), (50.24, "above")],
)
def test_the_verdict_weighs_the_intervals_of_both_sides(ours: float, verdict: str) -> None:
    """49.42 ± 0.78 published and ± 0.18 ours: the bound is sqrt(0.78² + 0.18²) = 0.8005."""
    row, column = SNELL_MINI.rows[0], SNELL_MINI.columns[0]
    measured = OurNumber(ours, 0.18, "episodes", ())
    assert PaperCell(SNELL_MINI, row, column, SNELL_MINI.published(row, column), measured).verdict == verdict


@pytest.mark.parametrize(("ours", "within"), [(98.45, True), (98.39, False), (99.15, True), (99.25, False)])
def test_without_a_published_interval_the_gap_is_held_against_the_tolerance(ours: float, within: bool) -> None:
    row, column = TABLE.rows[0], TABLE.columns[0]
    cell = PaperCell(TABLE, row, column, TABLE.published(row, column), OurNumber(ours, 0.05, "episodes", ()))
    assert (cell.verdict, cell.within_tolerance) == ("no 95 % interval published", within)


def test_a_second_rule_in_the_test_is_a_second_command() -> None:
    ours = Ours("proto", training={"labeled_share": 0.1}, test={"as": "soft-kmeans-proto", "unlabeled": 5})
    table = paper_table("ren2018-omniglot")
    cell = PaperCell(
        table, replace(table.rows[0], ours=ours), PaperColumn(5, 1, 1.0, query=14, distractors=5), None, None
    )
    first, second = cell.as_dict()["commands"]
    assert first == "fewshot run --model proto --way 5 --shot 1 --query 14 --labeled-share 0.1"
    assert second == (
        "fewshot evaluate CHECKPOINT --way 5 --shot 1 --query 14 --unlabeled 5 --distractors 5 --as soft-kmeans-proto"
    )


def test_rows_of_one_table_ask_for_different_records() -> None:
    for name in NAMES:
        asked = [str(row.ours) for row in paper_table(name).rows if row.ours]
        assert not [pair for pair in itertools.combinations(asked, 2) if pair[0] == pair[1]], name
