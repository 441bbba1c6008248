"""Accuracy against the share of damaged images, from records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.errors import UserError
from fewshot.records.record import RunRecord, pack_counts, read_records
from fewshot.reports.pages.corruption import check_damage, damage_curves, damage_table, plot_damage, write_damage
from fewshot.statistics.intervals import interval_over_episodes

COMMITTED = Path(__file__).parents[2] / "results" / "runs"


def record_of(model: str, share: float, hits: int) -> RunRecord:
    """A record of 5 queries an episode, tested with a share of damaged images after training with 75 %."""
    base = next(record for record in read_records([COMMITTED]) if record.recipe == "fast" and not record.readout)
    counts = np.array([hits, hits, 5, 0], np.uint16)
    interval = interval_over_episodes(counts / np.float64(5))
    damaged = f"-damaged-{100 * share:g}" if share else ""
    return replace(
        base,
        model=model,
        protocol=f"omniglot-vinyals-28{damaged}/20w5s/q15@v1",
        config=base.config | {"damage": 0.75, "test_damage": share},
        correct=pack_counts(counts),
        num_episodes=4,
        num_queries=5,
        accuracy=interval.mean,
        ci95=interval.ci95,
    )


@pytest.fixture
def records() -> list[RunRecord]:
    return [record_of(model, share, 4 - int(2 * share)) for share in (0.5, 0.0, 1.0) for model in ("proto", "other")]


def test_a_training_is_a_row_and_a_share_a_column_in_order(records: list[RunRecord]) -> None:
    table = damage_table(damage_curves(records))
    assert "| 0 % damaged | 50 % damaged | 100 % damaged |" in table
    (row,) = [line for line in table.splitlines() if line.startswith("| proto ")]
    cells = [cell.split(" ± ")[0].strip() for cell in row.split("|")[3:-1]]
    assert cells == ["65.00", "55.00", "45.00"]
    assert "**omniglot-vinyals-28/20w5s/q15@v1**" in table


def test_trainings_on_whole_images_and_smoke_tests_are_no_part_of_it(records: list[RunRecord]) -> None:
    whole = [record for record in read_records([COMMITTED]) if not record.config.get("damage")]
    assert whole
    smoke = replace(records[0], recipe="smoke")
    assert damage_curves([*whole, smoke]) == []


@pytest.mark.parametrize("name", ["curve.svg", "curve.png"])
def test_the_picture_shows_a_line_per_model_and_is_the_same_each_time(
    name: str, tmp_path: Path, records: list[RunRecord]
) -> None:
    first = plot_damage(damage_curves(records), tmp_path / name).read_bytes()
    assert plot_damage(damage_curves(records), tmp_path / f"again-{name}").read_bytes() == first
    if name.endswith("svg"):
        assert b"proto, trained with 75 %" in first
        assert b"other, trained with 75 %" in first
    else:
        assert len(Image.open(tmp_path / name).convert("RGB").getcolors(1 << 20) or []) > 10


def test_the_page_must_say_what_the_records_say(tmp_path: Path, records: list[RunRecord]) -> None:
    with pytest.raises(UserError, match="make leaderboard"):
        check_damage(records, tmp_path)
    assert [path.name for path in write_damage(records, tmp_path)] == ["damage.md", "damage.svg"]
    check_damage(records, tmp_path)
    with pytest.raises(UserError, match="make leaderboard"):
        check_damage([*records, record_of("third", 0.5, 3)], tmp_path)
    assert write_damage([], tmp_path / "none") == []


def test_the_committed_page_says_what_the_committed_records_say() -> None:
    check_damage(read_records([COMMITTED]), COMMITTED.parent)
