"""What may stand in parentheses beside a number of ours, and what judges it: read, the paper's own, of one protocol."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from fewshot.experiments.paper_plan import fill
from fewshot.records.numbers import INTERVALS, Published, published
from fewshot.records.paper_tables import PaperTableError, paper_table, paper_table_names
from fewshot.records.published import target_of, verdict
from fewshot.records.record import RunRecord
from fewshot.reports.frame import frame_of
from fewshot.reports.pages.recipe_costs import costs
from fewshot.reports.results import marks
from omniglot_records import of_omniglot
from records import changed, committed, committed_rows

ROOT = Path(__file__).parents[2]
BESIDE = re.compile(r"(\d+\.\d\d)(?: ± \d+\.\d\d){1,2} \((\d+\.\d\d)\)")
OMNIGLOT, MINI = "omniglot-vinyals-28", "miniimagenet-ravi-84"

JUDGED = ("matches", "above", "below")


def in_parentheses() -> Iterator[tuple[str, str, str, str, str, str]]:
    """Images, queries, model, cell, our accuracy and the published number of every cell of summary.md that has one."""
    heads: list[str] = []
    images = queries = ""
    for line in (ROOT / "results" / "summary.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if protocol := re.search(r"Protocol (\S+)/\.\.\./(\S+),", line):
            images, queries = protocol.groups()
        elif cells[0] == "model":
            heads = cells
        for head, cell in zip(heads[1:], cells[1:], strict=False):
            if found := BESIDE.fullmatch(cell):
                yield images, queries, cells[0].removesuffix(" (weights not kept)"), head, found[1], found[2]


def conditions(number: Published, record: RunRecord) -> dict[str, bool]:
    """Those of a number in parentheses, from the data alone."""
    found = []
    for table in map(paper_table, paper_table_names()):
        for row in table.rows:
            at_cell = [c for c in table.columns if (c.way, c.shot) == (record.test.way, record.test.shot)]
            cells = [table.published(row, column) for column in at_cell]
            if record.model in row.target and replace(number, difference="") in cells:
                found.append(table.tested_of(row).at(record.test.shot))
    (tested,) = found
    return {
        "verified": number.status == "verified",
        "of the paper itself": number.kind == "original",
        "of the same split": tested["images"] == record.test.dataset_id,
        "of the same queries": tested["queries"] == record.test.query,
        "inductive or not": tested["batch_norm"] == record.batch_norm,
        "of the same augmentation": tested["augmentation"] == (record.trained.recipe.augment or "none"),
    }


def test_every_number_in_parentheses_is_verified_of_the_paper_itself_and_of_the_same_protocol() -> None:
    shown = list(in_parentheses())
    assert len(shown) >= 5
    for images, queries, model, cell, ours, theirs in shown:
        protocol = f"{images}/{cell.replace('-way ', 'w').replace('-shot', 's')}/{queries}"
        rows = [row for row in committed_rows() if f"{100 * row.entry.interval.mean:.2f}" == ours]
        records = [row.entry.first for row in rows if not row.entry.first.readout]
        these = [record for record in records if (record.model, record.protocol) == (model, protocol)]
        assert these
        for record in these:  # one, or several that round to the same accuracy: then it must hold of each
            number = target_of(record)
            assert number is not None
            assert f"{number.accuracy:.2f}" == theirs
            assert all(conditions(number, record).values()), (model, protocol, conditions(number, record))


def test_readme_has_no_number_in_parentheses_that_the_summary_has_not() -> None:
    start, end = marks("leaderboard")
    block = (ROOT / "README.md").read_text(encoding="utf-8").partition(start)[2].partition(end)[0]
    found = {match.groups() for match in BESIDE.finditer(block)}
    assert found
    assert found <= {tuple(cell[-2:]) for cell in in_parentheses()}


def test_a_number_is_comparable_only_where_all_conditions_hold() -> None:
    held = [(number, record) for record in committed() if (number := target_of(record)) is not None]
    for number, record in held:
        if not number.difference:
            assert all(conditions(number, record).values()), (record.model, record.protocol)
    assert {bool(number.difference) for number, _ in held} == {True, False}


def test_every_other_published_number_stands_in_a_column_that_names_the_difference() -> None:
    frame = frame_of(committed_rows())
    with_number = frame[frame["published"].notna()]
    apart = with_number[with_number["published_difference"] != ""]
    assert apart["gap"].isna().all()
    assert with_number[with_number["published_difference"] == ""]["gap"].notna().all()
    summary = (ROOT / "results" / "summary.md").read_text(encoding="utf-8")
    for words in ("run by PaddleFSL, characters split 1100/100/423", "baseline of Vinyals et al.", "Lake's split"):
        assert words in summary


@pytest.mark.parametrize(
    ("changes", "model", "difference"),
    [
        ({"test": {"query": 15}, "protocol": f"{OMNIGLOT}/5w1s/q15@v1"}, "proto", ""),
        ({"test": {"query": 20}, "protocol": f"{OMNIGLOT}/5w1s/q20@v1"}, "proto", "15 queries a class"),
        (
            {"recipe": {"augment": "flip"}, "test": {"query": 15}, "protocol": f"{MINI}/5w1s/q15@v1"},
            "proto",
            "without augmentation",
        ),
        (
            {"test": {"query": 15}, "protocol": f"{OMNIGLOT}/5w1s/q15@v1"},
            "relation",
            "run by PaddleFSL, characters split 1100/100/423, 19 queries a class",
        ),
        (
            {"test": {"query": 15}, "protocol": f"{OMNIGLOT}/5w1s/q15@v1"},
            "gaussian-proto",
            "recalled, read in no document, Lake's split, 19 queries a class, transductive",
        ),
        (
            {
                "test": {"query": 15},
                "protocol": f"{MINI}/5w1s/q15@v1",
                "transductive": True,
                "trained": {"model_options": {"batch_norm": "released"}},
            },
            "relation",
            "released, 3 queries at a time",
        ),
        (
            {
                "test": {"query": 15},
                "protocol": f"{MINI}/5w1s/q15@v1",
                "transductive": True,
                "trained": {"model_options": {"batch_norm": "released", "queries_at_once": 3}},
            },
            "relation",
            "read in a later document",
        ),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], model: str, difference: str) -> None:
    changes = {"num_queries": 5 * changes["test"]["query"], **changes}
    number = target_of(changed(of_omniglot(), model=model, **changes))
    assert number is not None
    assert difference in number.difference
    assert bool(difference) == bool(number.difference)


def test_nothing_is_called_reached_by_a_number_from_memory_or_of_another_protocol() -> None:
    found = costs(committed())
    assert {"yes", "number not checked", "not comparable"} <= {cost.reached.partition(",")[0] for cost in found}
    for cost in found:
        if cost.reached.startswith(("yes", "within", "no,")):
            assert cost.published is not None
            assert (cost.published.status, cost.published.difference) == ("verified", "")


def test_no_verdict_rests_on_a_number_from_memory() -> None:
    cells = [cell for name in paper_table_names() for cell in fill(paper_table(name), committed())]
    recalled = [cell for cell in cells if cell.verdict and cell.published and cell.published.status == "recalled"]
    assert recalled
    assert all(cell.verdict not in JUDGED for cell in recalled)
    assert any(cell.verdict in JUDGED for cell in cells)


def test_a_verdict_needs_a_number_of_one_protocol_and_an_interval_at_95_percent() -> None:
    paper = next(number for number in published() if number.ci95 is not None and number.status == "verified")
    assert verdict(0.0, 0.1, paper) == "matches"
    assert verdict(0.0, 0.1, replace(paper, difference="15 queries a class")) == "not comparable"
    assert verdict(0.0, 0.1, replace(paper, interval="std over test batches")) == "no 95 % interval published"


def test_every_plus_minus_says_what_it_is() -> None:
    text = resources.files("fewshot.records").joinpath("published_data", "numbers.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        assert (row["interval"] in INTERVALS) if row["plus_minus"] else not row["interval"], row
    fort = next(number for number in published() if number.source.startswith("Fort"))
    assert fort.ci95 is None
    assert fort.printed.endswith("[±: std over test batches]")


def test_every_row_that_records_are_held_against_says_how_it_was_tested_and_by_whom() -> None:
    for table in map(paper_table, paper_table_names()):
        for row in table.rows:
            numbers = [number for column in table.columns if (number := table.published(row, column))]
            if row.target and any(number.kind != "original" for number in numbers):
                assert row.by, (table.name, row.name)
            table.tested_of(row)
    with pytest.raises(PaperTableError, match="querys"):
        structs.replace(table, tested={"querys": 15}).tested_of(row)
