"""fewshot fit, predict, export, and run on own images without training classes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Fewshot, record_in
from episodes.datasets.folder.dataset import Folder
from fewshot.evaluation.classifier.model import load_classifier, photos_of
from fewshot.experiments.config import RunConfig
from fewshot.experiments.run import suited
from fewshot.models.readouts import READOUTS
from fewshot.progress import Reporter
from fewshot.records.record import read_records
from onnx_session import same_in_onnx
from photo_builders import plain_photos, save, save_classes
from toy_checkpoint import color_checkpoint
from toy_classes import FewStrokes


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return color_checkpoint(tmp_path / "a.safetensors")


def test_a_classifier_is_fitted_told_of_and_predicts_new_images(fewshot: Fewshot, checkpoint: Path) -> None:
    photos, new = plain_photos(Path("photos"), 6), plain_photos(Path("new"), 3, first=6)
    words = ("fit", photos, "-o", "my.safetensors", "--encoder", checkpoint, "--readout", "cosine")
    fitted = fewshot(*words)
    assert fitted.status == 0, fitted.err
    assert re.search(r"accuracy to expect: \d+\.\d % \[\d+\.\d, \d+\.\d\] \(chance 33.3 %\), by 5-fold", fitted.out)
    assert len(re.findall(r"^  (red|green|blue) +[\d. ]+$", fitted.out, re.MULTILINE)) == 3
    told = json.loads(fewshot(*words, "--json").out)
    assert np.trace(told["confusion"]) / 18 == pytest.approx(told["accuracy"])
    assert told["classes"] == ["blue", "green", "red"]

    rows = [*csv.DictReader(io.StringIO(fewshot("predict", "my.safetensors", new).out))]
    assert [row["file"] for row in rows] == sorted(map(str, new.rglob("*.png")))
    assert all(row["class"] == Path(row["file"]).parent.name for row in rows)
    outcome = fewshot("predict", "my.safetensors", new / "red" / "06.png", new / "blue", "--json", "--out", "a.json")
    assert outcome.out == "a.json: 4 predictions\n"
    found = json.loads(Path("a.json").read_text())
    assert [one["class"] for one in found] == ["red", "blue", "blue", "blue"]
    assert found[0]["probability"] == max(found[0]["probabilities"].values())
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    saved = load_classifier(Path("my.safetensors"))
    probabilities, _ = saved.predict(photos_of(new, saved.image_shape).images)
    assert float(rows[-1]["probability"]) == pytest.approx(float(probabilities[-1].max()), abs=1e-4)


def test_a_fit_says_what_it_left_out_and_what_lies_there_twice(fewshot: Fewshot, checkpoint: Path) -> None:
    photos = plain_photos(Path("photos"), 6)
    shutil.copy(photos / "red" / "00.png", photos / "red" / "again.png")
    (photos / "red" / "drawing.svg").write_text("<svg/>")
    said = fewshot("fit", photos, "-o", "my.safetensors", "--encoder", checkpoint).err
    assert "drawing.svg" in said
    assert re.search(r"\d images are copies, or nearly, of another that is tested, too", said)


def test_strange_images_are_rejected_and_unreadable_ones_are_named(fewshot: Fewshot, checkpoint: Path) -> None:
    photos = plain_photos(Path("photos"), 20)
    fewshot("fit", photos, "-o", "my.safetensors", "--encoder", checkpoint)
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 2, (40, 40, 1), np.uint8).repeat(3, 2) * 255
        save(Path(f"strange/{number}.png"), Image.fromarray(pixels))
    Path("strange/broken.png").write_bytes(b"no picture")
    outcome = fewshot("predict", "my.safetensors", "strange", plain_photos(Path("new"), 5, first=20), "--reject", "0.1")
    rows = [*csv.DictReader(io.StringIO(outcome.out))]
    assert [row["class"] for row in rows[:4]] == ["(unknown)"] * 4
    assert sum(row["class"] == "(unknown)" for row in rows[4:]) <= 4  # of 15, where 10 % are to be rejected
    told = re.search(
        r"^unknown is what is known below 0\.\d+: so were 5 of 60 .* and (\d+) of 60 while", outcome.err, re.M
    )
    assert told is not None
    too_few = fewshot("predict", "my.safetensors", "strange", "--reject", "0.01").error
    assert "60 images were held out in the fit, too few to say what 1 in 100 is: use --reject 0.017 or more" in too_few
    assert "left out: 1 undecodable image: strange/broken.png" in outcome.err
    kept = [*csv.DictReader(io.StringIO(fewshot("predict", "my.safetensors", "strange").out))]
    assert "(unknown)" not in [row["class"] for row in kept]


def test_one_onnx_file_gives_the_same_probabilities(fewshot: Fewshot, checkpoint: Path) -> None:
    """Of a small encoder; the page about photos exports a large one."""
    photos = plain_photos(Path("photos"), 7)
    words = ("fit", photos, "-o", "my.safetensors", "--encoder", checkpoint, "--readout", "svm")
    assert fewshot(*words).status == 0
    outcome = fewshot("export", "my.safetensors", "my.onnx")
    assert outcome.status == 0, outcome.err
    about = same_in_onnx(Path("my.safetensors"), Path("my.onnx"), photos)
    assert json.loads(about["classes"]) == ["blue", "green", "red"]
    assert about["image_size"] == "84"
    assert -1 < float(about["threshold"]) < 1


def test_own_images_are_tested_on_all_classes_and_a_table_says_what_to_take(fewshot: Fewshot) -> None:
    plain_photos(Path("photos"), 6)
    outcome = fewshot("run", "--dataset", "photos", "--encoder", "lite0", "--readout", "own,svm,logistic")
    assert outcome.status == 0, outcome.err
    assert "200 random splits of the same 18 images: 5 of each class are support and 1 are queries" in outcome.out
    assert "3 classes, 5 support images each; chance 33.3 %" in outcome.out
    assert re.findall(r"^\* (\w+) +\d+\.\d\d ± \d+\.\d\d %", outcome.out, re.MULTILINE)
    assert "advice: fewshot fit photos -o my.safetensors --readout logistic" in outcome.out
    records = read_records([Path("runs/records")])
    assert {(one.model, one.test.way, one.test.shot, one.num_episodes) for one in records} == {
        ("pretrained", 3, 5, 200)
    }
    said = fewshot(
        "run", "--dataset", "photos", "--encoder", "lite0", "--shot", "1", "--episodes", "20", "--query", "2"
    )
    assert re.fullmatch(r"folder-photos-test-only-224-[0-9a-f]{8}/3w1s/q2@v1", record_in(said).protocol)


def test_what_cannot_be_used_is_one_line(fewshot: Fewshot, checkpoint: Path) -> None:
    photos = plain_photos(Path("photos"), 3)
    fewshot("fit", photos, "-o", "my.safetensors", "--encoder", checkpoint)
    Path("empty").mkdir()
    Path("note.png").write_text("no picture")
    save_classes(Path("one"), {"a": 3})
    save_classes(Path("few"), {"a": 1, "b": 2})
    fewshot("fit", "few", "-o", "few.safetensors", "--encoder", checkpoint)
    for words, message in (
        (("predict", "my.safetensors", "nowhere.png"), "there is no image or folder nowhere.png"),
        (("predict", "my.safetensors", "empty"), "empty holds no image"),
        (("predict", "my.safetensors", "note.png"), "none of the 1 files can be read"),
        (("predict", checkpoint, photos), "is no classifier: `fewshot fit PHOTOS -o"),
        (("predict", "absent.safetensors", photos), "there is no file absent.safetensors"),
        (("predict", "few.safetensors", photos, "--reject", "0.05"), "a class had a single image"),
        (("fit", "one", "-o", "a.safetensors", "--encoder", checkpoint), "two classes or more"),
        (("fit", "nowhere", "-o", "a.safetensors", "--encoder", checkpoint), "no folder or CSV file nowhere"),
        (("fit", photos, "-o", "a.safetensors", "--encoder", "conv4"), "conv4 has random weights"),
        (("fit", photos, "-o", "a.safetensors", "--encoder", checkpoint, "--readout", "x"), "unknown read-out"),
    ):
        assert message in fewshot(*words).error


def test_all_readouts_are_those_that_need_no_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    save_classes(tmp_path / "photos", {"a": 9, "b": 8})
    reporter = Reporter()
    config = RunConfig(model="pretrained", encoder="lite0", dataset="photos", readout="all,own", episodes=40)
    dataset = Folder(tmp_path / "photos", "test-only", image_size=32)
    suitable = suited(config, dataset, {"episodes"}, reporter)
    assert (suitable.way, suitable.shot, suitable.query, suitable.episodes) == (2, 6, 2, 40)
    kept = [name for name in READOUTS if not READOUTS.get(name).needs_train_mean]
    assert (suitable.readout or "").split(",") == [*kept, "own"]
    assert "simpleshot" in reporter.notes[1]
    assert suited(config, FewStrokes(), (), reporter) is config
