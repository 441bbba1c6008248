"""The public API: lazy, complete, documented, and the same numbers as the command line."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fewshot as fs
from episodes.errors import UserError
from fewshot.api import catalog, methods, pictures, tables
from fewshot.api import data as data_api
from fewshot.evaluation.classifier import estimator
from fewshot.models.factory import load_trained
from fewshot.records.record import read_record
from photo_builders import plain_photos
from toy_checkpoint import color_checkpoint
from toy_classes import FewStrokes


@pytest.fixture(scope="module")
def data() -> fs.Data:
    return fs.Data(FewStrokes())


def test_the_import_is_quick_and_loads_no_torch() -> None:
    code = "import sys, time; t = time.perf_counter(); import fewshot; print(time.perf_counter() - t, *sys.modules)"
    seconds, *modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert float(seconds) < 0.1
    assert not {"torch", "numpy", "pandas", "click"} & set(modules)


def test_every_name_is_listed_documented_and_there() -> None:
    of_python = {name for name in dir(fs) if name.startswith("__")} - {"__version__"}
    assert {*fs.__all__, "__version__"} == set(dir(fs)) - of_python
    for name in fs.__all__:
        thing = getattr(fs, name)
        assert inspect.getdoc(thing), name
    assert fs.__version__
    with pytest.raises(AttributeError, match="dir\\(fewshot\\)"):
        fs.no_such_name  # noqa: B018


def test_the_examples_in_the_docstrings_run() -> None:
    modules = (catalog, data_api, methods, pictures, tables, estimator)
    results = [doctest.testmod(module, extraglobs={"fs": fs}) for module in modules]
    assert all(found.attempted for found in results)
    assert not any(found.failed for found in results)


def test_an_episode_is_a_picture(data: fs.Data) -> None:
    picture = fs.show_episode(data.test, way=3, query=2)
    assert picture.mode == "RGB"
    assert min(picture.size) > 100


def test_evaluate_counts_what_the_sampler_draws(data: fs.Data) -> None:
    method = fs.build("proto", data=data, encoder_options={"width": 8})
    found = fs.evaluate(method, data.test, way=3, query=5, episodes=20)
    assert found.correct.shape == (20,)
    again = fs.evaluate(method, data.test, way=3, query=5, episodes=20)
    assert (found.correct == again.correct).all()
    other = fs.evaluate(method, data.test, way=3, query=5, episodes=20, seed=1)
    assert (found.correct != other.correct).any()


def test_a_read_out_classifies_what_a_method_embeds(data: fs.Data) -> None:
    method = fs.build("proto", data=data, encoder_options={"width": 8})
    asked: dict[str, Any] = {"way": 3, "query": 5, "episodes": 20}
    own = fs.evaluate(method, data.test, **asked)
    assert (fs.evaluate(method, data.test, readout="prototype", **asked).correct == own.correct).all()
    centered = fs.evaluate(method, data.test, readout="simpleshot", train_images=data.train, **asked)
    tables = fs.embed(method, data.test), fs.embed(method, data.train)
    by_hand = fs.evaluate_embeddings(tables[0], data.test, readout="simpleshot", train_embeddings=tables[1], **asked)
    assert (centered.correct == by_hand.correct).all()
    assert (centered.correct != own.correct).any()
    with pytest.raises(UserError, match=r"train_images=data\.train"):
        fs.evaluate(method, data.test, readout="simpleshot", **asked)
    with pytest.raises(UserError, match="model relation compares feature maps"):
        fs.evaluate(fs.build("relation", data=data), data.test, readout="prototype")
    with pytest.raises(UserError, match="no use of unlabeled images"):
        fs.evaluate(method, data.test, readout="prototype", unlabeled=2)
    with pytest.raises(UserError, match="Did you mean 'simpleshot'"):
        fs.evaluate(method, data.test, readout="simpelshot")


def test_any_module_serves_as_encoder(data: fs.Data) -> None:
    mine = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, 16))
    found = fs.evaluate(fs.build("proto", encoder=mine, data=data), data.test, way=3, query=5, episodes=20)
    assert 0 < found.interval.mean <= 1


def test_training_leaves_the_best_weights_and_reads_no_test_class(data: fs.Data) -> None:
    class NoTest(fs.Data):
        def split(self, name: str) -> fs.ImageSet:
            assert name != "test"
            return data.split(name)  # type: ignore[arg-type]

    method = fs.build("proto", data=data, encoder_options={"width": 8})
    before = fs.evaluate(method, data.test, query=5, episodes=50).interval.mean
    result = fs.train(method, NoTest(data.dataset), "smoke", way=3, quiet=True)
    assert [validation.episode for validation in result.history] == [10, 20]
    assert result.selected in result.history
    assert re.fullmatch(r"TrainingResult\(20 episodes in \S+ s, val \d+\.\d\d ± \d+\.\d\d % at [12]0\)", repr(result))
    assert fs.evaluate(method, data.test, query=5, episodes=50).interval.mean != before
    with pytest.raises(UserError, match="Did you mean"):
        fs.train(method, data, "fats")


def test_run_writes_the_record_of_a_command_that_does_the_same(tmp_path: Path) -> None:
    config = fs.RunConfig(
        model="proto", dataset="strokes", way=3, query=5, episodes=20, recipe="smoke", encoder_options={"width": 8}
    )
    record = fs.run(config, out=tmp_path)
    assert record.command == config.to_command()
    assert record.num_episodes == 20
    assert [read_record(path) for path in (tmp_path / "records").glob("*.json")] == [record]
    (checkpoint,) = (tmp_path / "checkpoints").glob("*/checkpoint.safetensors")
    method = load_trained(checkpoint, torch.device("cpu")).method
    found = fs.evaluate(method, fs.load_dataset("strokes").test, way=3, query=5, episodes=20)
    assert (found.correct == record.counts).all(), "the same precision as at the command line"


def test_run_without_a_test_gives_the_log_of_the_training(tmp_path: Path) -> None:
    config = fs.RunConfig(dataset="strokes", way=3, recipe="smoke", encoder_options={"width": 8})
    log = fs.run(config, out=tmp_path, test=False)
    assert log.history.val_accuracy == max(look.accuracy for look in log.history.validations)
    assert not (tmp_path / "records").exists()
    assert Path(log.trained.checkpoint).is_file()


def test_embeddings_made_elsewhere_are_scored_or_refused_in_words(data: fs.Data) -> None:
    pixels = data.test.images.flatten(1).numpy()
    ours = fs.evaluate_embeddings(pixels, data.test, query=5, episodes=20)
    assert ours.interval.mean > 0.25
    with pytest.raises(UserError, match="a row for each image"):
        fs.evaluate_embeddings(pixels[:-1], data.test)
    with pytest.raises(UserError, match="train_embeddings"):
        fs.evaluate_embeddings(pixels, data.test, readout="simpleshot")
    spoiled = pixels.astype(np.float32)
    spoiled[0, 0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        fs.evaluate_embeddings(spoiled, data.test)
    with pytest.raises(UserError, match="complex"):
        fs.evaluate_embeddings(pixels + 1j, data.test)
    with pytest.raises(UserError, match="1 episode or more"):
        fs.evaluate_embeddings(pixels, data.test, episodes=0)
    with pytest.raises(UserError, match="train_embeddings have 7 numbers each and embeddings 784"):
        fs.evaluate_embeddings(pixels, data.test, readout="simpleshot", train_embeddings=pixels[:, :7])


@pytest.mark.parametrize(
    "made",
    [
        pd.DataFrame,
        lambda rows: rows[:, ::-1],
        lambda rows: rows.astype(">f8"),
        lambda rows: rows.astype(np.longdouble),
        lambda rows: rows.tolist(),
    ],
)
def test_embeddings_are_taken_from_whatever_holds_numbers(made: Any, data: fs.Data) -> None:
    pixels = data.test.images.flatten(1).numpy().astype(np.float32)
    asked: dict[str, Any] = {"query": 5, "episodes": 20}
    expected = fs.evaluate_embeddings(pixels, data.test, **asked).correct
    assert (fs.evaluate_embeddings(made(pixels), data.test, **asked).correct == expected).all()


@pytest.mark.parametrize("rows", [[["a", "b"]], [[1.0], [1.0, 2.0]], np.array([[object()]])])
def test_what_holds_no_numbers_is_refused_in_words(rows: Any, data: fs.Data) -> None:
    with pytest.raises(UserError, match=r"embeddings (holds|is no table)"):
        fs.evaluate_embeddings(rows, data.test)


def test_records_of_a_folder_that_there_is_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*typo"):
        fs.load_records(tmp_path / "typo")
    assert fs.load_records(tmp_path) == []


@pytest.mark.parametrize("readout", ["prototype", "simpleshot"])
def test_embeddings_far_from_zero_are_scored_as_those_at_zero(readout: str, data: fs.Data) -> None:
    """In single precision, 2e9 and 2e9 + 100 are one number."""
    pixels = data.test.images.flatten(1).double()
    training = data.train.images.flatten(1).double()

    def scored(offset: float) -> np.ndarray:
        asked: dict[str, Any] = {"readout": readout, "query": 5, "episodes": 20}
        return fs.evaluate_embeddings(pixels + offset, data.test, train_embeddings=training + offset, **asked).correct

    assert abs(scored(2e9) - scored(0.0)).sum() <= 1


def test_images_are_embedded_by_a_method_or_a_checkpoint(data: fs.Data, tmp_path: Path) -> None:
    method = fs.build("proto", data=data, encoder_options={"width": 8})
    rows = fs.embed(method, data.test)
    assert rows.dtype == np.float32
    found = fs.evaluate_embeddings(rows, data.test, query=5, episodes=20)
    assert (found.correct == fs.evaluate(method, data.test, query=5, episodes=20).correct).all()
    checkpoint = color_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="takes images of 3x84x84 and these are 1x28x28"):
        fs.embed(checkpoint, data.test)
    images = fs.load_dataset(plain_photos(tmp_path / "photos", 2), split="test-only", size=84).test
    assert fs.embed(checkpoint, images).shape[0] == 6
    with pytest.raises(UserError, match="random weights"):
        fs.embed("conv4", data.test)


def test_records_tables_and_comparisons_are_frames() -> None:
    records = [
        record for record in fs.load_records("results/runs") if record.model in ("proto", "matching", "relation")
    ]
    frame = fs.leaderboard(records)
    assert {"model", "way", "shot", "accuracy", "rank"} <= set(frame.columns)
    assert len(frame) > 20
    pairs = fs.compare("proto", "matching")
    assert {*pairs["first"], *pairs["second"]} == {"proto", "matching"}
    assert (pairs["wins"] + pairs["ties"] + pairs["losses"]).min() >= 600
    table = fs.paper_table("snell2017-table1", records)
    assert table.loc[table["row"].str.startswith("Prototypical"), "ours"].notna().all()


def test_a_notebook_in_another_folder_finds_the_published_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not fs.compare("proto", "matching").empty
