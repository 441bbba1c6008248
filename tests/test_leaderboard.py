from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episodes.errors import UserError
from fewshot.leaderboard import END, START, check_files, render, write_files
from fewshot.records import RunRecord, pack_counts, write_record

ROOT = Path(__file__).parent.parent


def a_record(accuracy: float = 0.9, shot: int = 1, **changes: object) -> RunRecord:
    """A record of 10 episodes with 10 queries each."""
    record = RunRecord(
        model="proto",
        protocol=f"omniglot-vinyals-28/5w{shot}s/q2@v1",
        accuracy=accuracy,
        ci95=0.01,
        num_episodes=10,
        num_queries=10,
        correct=pack_counts(np.full(10, round(10 * accuracy), np.uint16)),
        episodes_digest="d",
        episode_seed=0,
        recipe="fast",
        shortened=False,
        seed=0,
        transductive=False,
        uses_unlabeled=False,
        num_parameters=1,
        config={
            "way": 5,
            "shot": shot,
            "encoder": "conv4",
            "model_options": {},
            "recipe": {"train_way": 60, "train_episodes": 3000},
        },
        training={},
        seconds={},
        commit="c",
        versions={},
        machine={},
        command="fewshot run",
        date="2026-01-01",
        ci_formula="f",
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def test_a_row_holds_the_cells_of_one_training_recipe_and_the_paper_stands_below() -> None:
    table = render([a_record(0.9, 1), a_record(0.8, 5)])
    (row,) = [line for line in table.splitlines() if line.startswith("| proto ")]
    assert row.endswith("| 90.00 ± 1.00 % | 80.00 ± 1.00 % |")
    assert "| *98.80 %* | *99.70 %* |" in table


def test_rows_are_sorted_by_accuracy() -> None:
    table = render([a_record(0.7, seed=3), a_record(0.9, seed=4), a_record(0.8, seed=5)])
    seeds = [line.split("|")[4].strip() for line in table.splitlines() if line.startswith("| proto ")]
    assert seeds == ["4", "5", "3"]


def test_smoke_tests_are_left_out() -> None:
    assert "No records yet" in render([a_record(recipe="smoke")])


def test_shortened_trainings_stand_apart() -> None:
    table = render([a_record(0.9), a_record(0.5, shortened=True)])
    ranked, _, apart = table.partition("shortened trainings, not ranked")
    assert "90.00" in ranked
    assert "50.00" not in ranked
    assert "50.00" in apart


@pytest.mark.parametrize(
    ("flags", "group"),
    [({"transductive": True}, "transductive"), ({"uses_unlabeled": True}, "semi-supervised")],
)
def test_rows_that_are_not_comparable_stand_in_a_table_of_their_own(flags: dict[str, bool], group: str) -> None:
    table = render([a_record(0.8), a_record(0.99, **flags)])
    inductive, _, other = table.partition(f"; {group}:")
    assert "99.00" not in inductive
    assert "99.00" in other


def test_the_readme_table_is_written_between_its_marks_and_checked(tmp_path: Path) -> None:
    results = tmp_path / "results"
    (tmp_path / "README.md").write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_record(a_record(0.9, ci95=0.0), results / "runs" / "a.json")  # ten equal counts vary by nothing
    write_files(results)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "90.00 ± 0.00 %" in text
    assert "old" not in text
    check_files(results)
    (tmp_path / "README.md").write_text(text.replace("90.00", "91.00"))
    with pytest.raises(UserError, match="make leaderboard"):
        check_files(results)


def test_the_committed_tables_say_what_the_committed_records_say() -> None:
    check_files(ROOT / "results")
