"""A checkpoint of one data set, tested on another: its size, its protocol, its place in the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS, class_lists
from fewshot.records.rows import setting_of, why_not_ranked
from listed_builders import jpeg, picture
from patterns import add_folder

WEIGHTS = Path(__file__).parents[2] / "results/weights/proto-miniimagenet-ravi-84-fast-9b3716bfbd65.safetensors"


def test_a_checkpoint_is_tested_on_another_data_set_at_its_own_size_and_ranked_apart(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FEWSHOT_MINIIMAGENET_URL", "http://127.0.0.1:9")
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
    without_training_images = fewshot(*asked, "--readout", "simpleshot")
    assert "mini-imagenet-cache-train.pkl" in without_training_images.err.splitlines()[-1]
    refused = fewshot(*asked, "--size", "64")
    assert "was trained on images of (3, 84, 84)" in refused.error


def test_read_outs_center_on_the_images_of_the_training_and_on_none_of_the_tested_data_set(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(monkeypatch, tmp_path / "place")
    kind = dataset_class("gray-noise")
    tested_alone = kind.load

    def load(self: Any, split: Any, progress: Any = None) -> Any:
        assert split == "test"
        return tested_alone(self, split, progress)

    checkpoint = checkpoint_of(record_in(fewshot(*SMOKE)))
    monkeypatch.setattr(kind, "load", load)
    asked = ("--dataset", "gray-noise", "--query", "5", "--episodes", "20", "--readout", "simpleshot")
    record = record_in(fewshot("evaluate", checkpoint, *asked))
    assert (record.trained.dataset, record.test.dataset) == ("strokes", "gray-noise")
    assert "the number stands" in fewshot("verify", next(Path("runs/records").glob("*gray-noise*.json"))).out
