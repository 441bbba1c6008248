"""Accuracy against the share of corrupted images, from records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot.records.record import RunRecord
from fewshot.reports.pages.corruption import PAGE, corruption_curves, corruption_tables, draw
from fewshot.reports.plots.style import save
from records import changed, committed


def record_of(model: str, share: float, hits: int) -> RunRecord:
    """A record of 300 queries an episode, tested with a share of corrupted images after training with 75 %."""
    base = next(record for record in committed() if record.recipe == "fast" and not record.readout)
    counts = 60 * np.array([hits, hits, 5, 0])
    corrupted = f"-damaged-{100 * share:g}" if share else ""
    protocol = f"omniglot-vinyals-28{corrupted}/20w5s/q15@v1"
    trained = {"corruption": 0.75}
    return changed(base, model=model, protocol=protocol, trained=trained, counts=counts, num_queries=300)


@pytest.fixture
def records() -> list[RunRecord]:
    return [record_of(model, share, 4 - int(2 * share)) for share in (0.5, 0.0, 1.0) for model in ("proto", "other")]


def test_a_training_is_a_row_and_a_share_a_column_in_order(records: list[RunRecord]) -> None:
    (section,) = corruption_tables(corruption_curves(records))
    table = section.table
    assert table is not None
    assert list(table.columns[2:]) == ["0 % corrupted", "50 % corrupted", "100 % corrupted"]
    row = table[table["model"] == "proto"].iloc[0]
    assert [cell.split(" ± ")[0] for cell in row.iloc[2:]] == ["65.00", "55.00", "45.00"]
    assert "## Omniglot, 20-way 5-shot\n\n| model |" in str(PAGE.render(records)["damage.md"])


def test_trainings_on_whole_images_and_smoke_tests_are_no_part_of_it(records: list[RunRecord]) -> None:
    whole = [record for record in committed() if not record.trained.corruption]
    assert whole
    smoke = changed(records[0], recipe="smoke")
    assert corruption_curves([*whole, smoke]) == []


def test_every_training_has_its_curve() -> None:
    many = [record_of(f"model{number}", share, 3) for number in range(7) for share in (0.0, 0.5)]
    lines = draw(corruption_curves(many)).axes[0].get_legend_handles_labels()[1]
    assert len(lines) == 7


@pytest.mark.parametrize("name", ["curve.svg", "curve.png"])
def test_the_picture_shows_a_line_per_model_and_is_the_same_each_time(
    name: str, tmp_path: Path, records: list[RunRecord]
) -> None:
    first = save(draw(corruption_curves(records)), tmp_path / name).read_bytes()
    assert save(draw(corruption_curves(records)), tmp_path / f"again-{name}").read_bytes() == first
    if name.endswith("svg"):
        assert b"Prototypical Networks, trained with 75 %" in first
        assert b"other, trained with 75 %" in first
    else:
        assert len(Image.open(tmp_path / name).convert("RGB").getcolors(1 << 20) or []) > 10


def test_there_is_no_page_without_a_training_on_corrupted_images() -> None:
    assert PAGE.render([]) == {}
