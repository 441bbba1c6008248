"""run(): one training per configuration, val alone decides the weights, the record says it all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command_line import checkpoint_of
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import EpisodeError
from fewshot.evaluation.evaluate import evaluate
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.run import run_without_test
from fewshot.models.factory import load_trained
from fewshot.models.options import OptionError
from fewshot.models.tensor_files import CheckpointError, load_tensors
from fewshot.records.record import as_stored, read_record
from fewshot.training.logs import LOGS, Log
from toy_classes import QUICK, FewStrokes, NoTest
from toy_runs import CONFIG, Listener, changed_pixels, run

CPU = torch.device("cpu")


def test_a_run_leaves_checkpoint_and_record_and_the_record_can_be_read_back(tmp_path: Path) -> None:
    record, path = run(CONFIG, FewStrokes(), tmp_path)
    assert read_record(path) == record
    assert checkpoint_of(record).is_file()
    assert sorted(p.name for p in checkpoint_of(record).parent.iterdir()) == [".lock", "checkpoint.safetensors"]
    assert path.parent == tmp_path / "records"
    assert path.name.startswith("proto_strokes-standard-28-c50_4w1s_q5_smoke_")


def test_the_record_says_what_was_measured_and_how(tmp_path: Path) -> None:
    dataset = FewStrokes()
    record, _ = run(CONFIG, dataset, tmp_path)
    sampler = EpisodeSampler(dataset.load("test"), EpisodeSpec(4, 1, 5), 0)
    expected = evaluate(load_trained(checkpoint_of(record), CPU).method, sampler, 30)
    assert np.array_equal(record.counts, expected.correct)
    assert (record.accuracy, record.ci95) == (expected.interval.mean, expected.interval.half_width)
    assert record.episodes_digest == sampler.digest(30)
    assert record.protocol == "strokes-standard-28-c50/4w1s/q5@v1"
    assert (record.num_episodes, record.num_queries, record.episode_seed, record.seed) == (30, 20, 0, 0)
    assert record.num_parameters == sum(p.numel() for p in load_trained(checkpoint_of(record), CPU).method.parameters())
    assert (record.transductive, record.uses_unlabeled, record.shortened) == (False, False, False)
    assert record.trained.recipe.train_episodes == QUICK.train_episodes
    assert record.trained.encoder_options == {"width": 8}
    assert [look.episode for look in record.history.validations] == [10, 20, 30]
    assert record.history.selected_episode in (10, 20, 30)
    assert {"python", "torch", "numpy"} <= record.versions.keys()
    assert record.hardware.device == "cpu"
    assert record.cost.training_seconds > 0
    assert "ddof 1" in record.ci_formula
    json.dumps(as_stored(record), allow_nan=False)


def test_the_selected_weights_are_those_that_validated_best(tmp_path: Path) -> None:
    record, _ = run(CONFIG, FewStrokes(), tmp_path)
    history = record.history.validations
    best = max(history, key=lambda look: look.accuracy)
    assert record.history.val_accuracy == best.accuracy
    method = load_trained(checkpoint_of(record), CPU).method
    sampler = EpisodeSampler(FewStrokes().load("val"), EpisodeSpec(4, 1, QUICK.val_query), 1)
    assert evaluate(method, sampler, QUICK.val_episodes).interval.mean == best.accuracy


def test_the_test_set_has_no_influence_on_the_weights(tmp_path: Path) -> None:
    usual, _ = run(CONFIG, FewStrokes(), tmp_path / "usual")
    other, _ = run(CONFIG, FewStrokes(test=changed_pixels("test")), tmp_path / "other")
    assert usual.counts.tolist() != other.counts.tolist()
    assert usual.episodes_digest != other.episodes_digest
    files = [checkpoint_of(record) for record in (usual, other)]
    assert files[0].parent.name == files[1].parent.name
    tensors = [load_tensors(file)[0] for file in files]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_the_validation_set_decides_the_selection_and_nothing_else(tmp_path: Path) -> None:
    """With other validation images the history differs, and so does the hash: it is another training."""
    usual, _ = run(CONFIG, FewStrokes(), tmp_path)
    other, _ = run(CONFIG, FewStrokes(val=changed_pixels("val")), tmp_path)
    assert checkpoint_of(usual) != checkpoint_of(other)
    losses = [[look.loss for look in record.history.validations] for record in (usual, other)]
    assert losses[0] == losses[1]
    looks = [[look.accuracy for look in record.history.validations] for record in (usual, other)]
    assert looks[0] != looks[1]


def test_one_seed_gives_one_record_and_another_seed_another(tmp_path: Path) -> None:
    records = [
        run(replace(CONFIG, seed=seed), FewStrokes(), tmp_path / name)[0]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    digests = [load_tensors(checkpoint_of(record))[0] for record in records]
    assert all(torch.equal(digests[0][name], digests[1][name]) for name in digests[0])
    assert records[0].correct == records[1].correct
    assert any(not torch.equal(digests[0][name], digests[2][name]) for name in digests[0])
    assert records[0].episodes_digest == records[2].episodes_digest  # the seed of training moves no test episode


def test_a_finished_training_is_found_and_not_repeated(tmp_path: Path) -> None:
    first, path = run(CONFIG, FewStrokes(), tmp_path)
    listener = Listener()
    again, path_again = run(CONFIG, FewStrokes(), tmp_path, listener)
    assert listener.trained == []
    assert any("already trained" in text and "--fresh" in text for text in listener.said)
    assert path_again == path
    assert again.correct == first.correct
    assert again.history == first.history


def test_another_test_uses_the_same_training_and_writes_another_record(tmp_path: Path) -> None:
    first, path = run(CONFIG, FewStrokes(), tmp_path)
    for other in (replace(CONFIG, query=3), replace(CONFIG, episodes=40), replace(CONFIG, episode_seed=1)):
        listener = Listener()
        record, other_path = run(other, FewStrokes(), tmp_path, listener)
        assert listener.trained == []
        assert checkpoint_of(record) == checkpoint_of(first)
        assert other_path != path
        assert record.episodes_digest != first.episodes_digest


def test_fresh_trains_anew(tmp_path: Path) -> None:
    first, _ = run(CONFIG, FewStrokes(), tmp_path)
    before = checkpoint_of(first).stat().st_mtime_ns
    listener = Listener()
    again, _ = run(CONFIG, FewStrokes(), tmp_path, listener, fresh=True)
    assert listener.trained
    assert checkpoint_of(again).stat().st_mtime_ns > before
    assert again.correct == first.correct


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"way": 13}, "13-way needs 13 classes .* has 12"),
        ({"shot": 10, "query": 11}, "10 shot . 11 query needs 21 images"),
        ({"recipe": replace(QUICK, train_way=33)}, "33-way needs 33 classes .* train has 32"),
    ],
)
def test_episodes_that_cannot_be_drawn_are_refused_before_anything_is_trained(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    listener = Listener()
    with pytest.raises(EpisodeError, match=message):
        run(replace(CONFIG, **changed), FewStrokes(), tmp_path, listener)
    assert listener.trained == []
    assert not (tmp_path / "checkpoints").exists()


def test_an_unknown_option_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean '--distance'"):
        run(replace(CONFIG, model_options={"distanse": "cosine"}), FewStrokes(), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_notes_of_the_reporter_are_in_the_record(tmp_path: Path) -> None:
    listener = Listener()
    listener.note("a thing to know")
    record, path = run(CONFIG, FewStrokes(), tmp_path, listener)
    assert record.notes == read_record(path).notes == ["a thing to know"]


def test_a_checkpoint_is_tested_again_with_other_episodes(tmp_path: Path) -> None:
    first, _ = run(CONFIG, FewStrokes(), tmp_path)
    path = checkpoint_of(first)
    again = EvaluateConfig(checkpoint=path, way=(4,), query=5, episodes=30, device="cpu", precision="fp32")
    ((same, _),) = evaluate_again(again, FewStrokes(), tmp_path)
    assert same.correct == first.correct
    assert same.episodes_digest == first.episodes_digest
    ((harder, harder_path),) = evaluate_again(replace(again, way=(10,)), FewStrokes(), tmp_path)
    assert harder.protocol == "strokes-standard-28-c50/10w1s/q5@v1"
    assert harder.accuracy < first.accuracy
    assert read_record(harder_path) == harder
    assert harder.history == first.history


def test_a_checkpoint_for_other_images_is_refused_in_one_line(tmp_path: Path) -> None:
    first, _ = run(CONFIG, FewStrokes(), tmp_path)
    image_set = FewStrokes().load("test")
    wide = replace(image_set, images=image_set.images.repeat(1, 1, 2, 2))
    with pytest.raises(CheckpointError, match=r"trained on images of \(1, 28, 28\).* are \(1, 56, 56\)") as error:
        evaluate_again(EvaluateConfig(checkpoint=checkpoint_of(first)), FewStrokes(test=wide), tmp_path)
    assert "\n" not in str(error.value)


def test_a_semi_supervised_model_is_trained_and_tested_with_unlabeled_images(tmp_path: Path) -> None:
    recipe = replace(QUICK, unlabeled=2, distractors=1, train_episodes=4, validate_every=4)
    record, _ = run(replace(CONFIG, model="soft-kmeans-proto", recipe=recipe), FewStrokes(), tmp_path)
    assert record.uses_unlabeled
    assert record.protocol == "strokes-standard-28-c50/4w1s/q5u2d1@v1"


UNTESTED = replace(CONFIG, query=15, episodes=None)
"""CONFIG without what it says of its test."""


def test_without_a_test_the_test_classes_are_never_read_and_no_record_is_written(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the test classes are read"):
        run(CONFIG, NoTest(), tmp_path / "tested")
    log = run_without_test(UNTESTED, NoTest(), tmp_path)
    folder = Path(log.trained.checkpoint).parent
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "checkpoint.safetensors", "training.json"]
    assert not (tmp_path / "records").exists()
    written = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert written.pop("digest")
    assert written == json.loads(json.dumps(as_stored(log)))
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path, listener)  # the same training, tested later
    assert listener.trained == []
    stored = json.loads(json.dumps(as_stored(record)))
    assert stored["trained"].pop("packages").keys() == {"dataset"}, "the images of this test are of a package elsewhere"
    assert (written["trained"], written["history"]) == (stored["trained"], stored["history"])
    best = max(log.history.validations, key=lambda look: look.accuracy)
    assert log.percent() == f"{100 * best.accuracy:.2f} ± {100 * best.ci95:.2f} %"


@pytest.mark.parametrize(
    ("changed", "flags"),
    [
        ({"query": 3, "readout": "svm"}, "--query, --readout"),
        ({"dirichlet": 2}, "--dirichlet"),
        ({"episodes": 50, "episode_seed": 1}, "--episodes, --episode-seed"),
        ({"protocol": "runs"}, "--protocol"),
    ],
)
def test_without_a_test_what_is_said_of_one_is_refused(tmp_path: Path, changed: dict[str, Any], flags: str) -> None:
    with pytest.raises(UserError, match=f"nothing is tested: leave out {flags}$"):
        run_without_test(replace(UNTESTED, **changed), NoTest(), tmp_path)
    with pytest.raises(UserError, match="untrained is not trained: leave out --no-test"):
        run_without_test(RunConfig(model="untrained"), NoTest(), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_log_changes_neither_weights_nor_record_and_its_end_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(Log):
        def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None: ...

        def write(self, step: int, values: Mapping[str, float]) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setitem(LOGS, "wandb", FullDisk)
    plain, _ = run(CONFIG, FewStrokes(), tmp_path / "plain")
    listener = Listener()
    logged, _ = run(replace(CONFIG, log=("tensorboard", "wandb")), FewStrokes(), tmp_path / "logged", listener)
    one, other = checkpoint_of(plain), checkpoint_of(logged)
    assert one.parent.name == other.parent.name
    assert all(torch.equal(a, b) for a, b in zip(*(load_tensors(c)[0].values() for c in (one, other)), strict=True))
    assert (plain.command, plain.accuracy) == (logged.command, logged.accuracy)
    assert [line for line in listener.said if "wandb" in line] == [
        "--log wandb has stopped, the run goes on without it: OSError: [Errno 28] No space left on device"
    ]
    (events,) = (tmp_path / "logged" / "logs" / "tensorboard" / other.parent.name).iterdir()
    content = events.read_bytes()
    assert all(name in content for name in (b"train/loss", b"val/accuracy", b"test/4w1s/accuracy"))
