"""A checkpoint of one data set, tested on another: its size, its protocol, its place in the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Fewshot, record_in
from episodes.datasets.cards import DATASETS, class_lists
from fewshot.records.rows import setting_of, why_not_ranked
from listed_builders import jpeg, picture

WEIGHTS = Path(__file__).parents[2] / "results/weights/proto-miniimagenet-ravi-84-fast-9b3716bfbd65.safetensors"


def test_a_checkpoint_is_tested_on_another_data_set_at_its_own_size_and_ranked_apart(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path / "data"))
    for row, name in enumerate(class_lists(DATASETS.get("eurosat"))["all"]["test"]):
        for number in range(4):
            jpeg(tmp_path / "data/eurosat/2750" / name / f"{name}_{number}.jpg", picture(4 * row + number, 64))
    asked = ("evaluate", WEIGHTS, "--dataset", "eurosat", "--query", "3", "--episodes", "20")
    record = record_in(fewshot(*asked))
    assert record.protocol == "eurosat-all-84/5w1s/q3@v1"
    assert (record.test.num_classes, record.trained.dataset) == (10, "miniimagenet")
    assert (setting_of(record), why_not_ranked(record)) == ("cross-domain", "")
    table = fewshot("leaderboard").out
    assert "cross-domain" in table.lower()
    assert "on miniimagenet-ravi-84" in table
    assert record_in(fewshot(*asked, "--size", "84")).accuracy == record.accuracy
    refused = fewshot(*asked, "--size", "64")
    assert "was trained on images of (3, 84, 84)" in refused.error
