"""A checkpoint of one data set, tested on another: its size, its protocol, its place in the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS, class_lists
from episodes.datasets.corruption import corrupted
from episodes.datasets.omniglot.dataset import Omniglot
from episodes.datasets.opening import open_dataset
from fewshot.experiments.measure import dataset_of_training
from fewshot.progress import Reporter
from fewshot.records.rows import setting_of, why_not_ranked
from listed_builders import jpeg, picture
from patterns import add_folder
from photo_builders import gray_squares

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


@pytest.mark.parametrize(
    ("about", "pixels"),
    [
        ({}, "omniglot-vinyals-28"),
        ({"class_split": "lake"}, "omniglot-lake-28"),
        ({"damage": 0.5}, "omniglot-vinyals-28-damaged-50"),
        ({"class_split": "lake", "damage": 0.5}, "omniglot-lake-28-damaged-50"),
        ({"dataset": "strokes", "class_split": "standard", "damage": 0.25}, "strokes-standard-28-damaged-25"),
    ],
)
@pytest.mark.parametrize("damage", [0.0, 0.25])
def test_what_read_outs_center_on_has_the_split_and_the_damage_of_the_training(
    about: dict[str, Any], pixels: str, damage: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Omniglot, "is_present", lambda _: True)
    known = {"dataset": "omniglot", "class_split": "vinyals", "image_shape": [1, 28, 28], "pixels": pixels}
    tested = corrupted(Omniglot(tmp_path, "vinyals"), damage)
    assert dataset_of_training(known | about, tested, Reporter()).protocol_name == pixels


def test_the_images_of_the_training_lie_where_data_sets_were_said_to_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Omniglot, "is_present", lambda _: True)
    known = {"dataset": "omniglot", "class_split": "vinyals", "image_shape": [1, 28, 28], "pixels": "-"}
    photos = open_dataset(str(gray_squares(tmp_path / "photos", 3)))
    assert dataset_of_training(known, photos, Reporter(), tmp_path).root == tmp_path


def test_no_read_out_centers_on_another_folder_than_that_of_the_training(fewshot: Fewshot) -> None:
    ours, others = Path("ours"), Path("others")
    gray_squares(ours, 12)
    gray_squares(others, 13)
    run = ("run", "--dataset", ours, "--recipe", "smoke", "--way", "2", "--query", "2", "--episodes", "20")
    checkpoint = checkpoint_of(record_in(fewshot(*run, "--size", "16", "--split", "random")))
    asked = ("--query", "2", "--way", "2", "--episodes", "20", "--readout", "simpleshot")
    assert fewshot("evaluate", checkpoint, "--dataset", ours, "--split", "random", *asked).status == 0
    refused = fewshot("evaluate", checkpoint, "--dataset", others, "--split", "random", *asked)
    assert refused.status == 2
    assert "trained on images of its user's own that are not those tested here (folder-ours-" in refused.err
    assert "leave out the read-outs that center on training images (" in refused.err


def test_a_folder_is_tested_on_the_classes_that_its_training_left_for_the_test(fewshot: Fewshot) -> None:
    ours, others = Path("ours"), Path("others")
    gray_squares(ours, 12)
    gray_squares(others, 13)
    run = ("run", "--dataset", ours, "--recipe", "smoke", "--way", "2", "--query", "2", "--episodes", "20")
    trained = record_in(fewshot(*run, "--size", "16", "--split", "random"))
    asked = ("evaluate", checkpoint_of(trained), "--query", "2", "--way", "2", "--episodes", "20")
    again = record_in(fewshot(*asked, "--dataset", ours))
    assert again.protocol == trained.protocol
    assert again.correct == trained.correct
    assert not any("not those of the training" in note for note in again.notes)
    for other in (("--dataset", others), ("--dataset", ours, "--split", "test-only")):
        (note,) = record_in(fewshot(*asked, *other)).notes
        assert "are not those of the training (folder-ours-random-16-" in note
    shape = ("--way", "2", "--unknown", "1", "--shot", "2", "--query", "2", "--episodes", "20")
    refused = fewshot("open-set", checkpoint_of(trained), "--dataset", ours, *shape)
    assert "test has 2:" in refused.error, "the classes of the training are no part of the test"


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
