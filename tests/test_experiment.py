"""run(): one training per configuration, val alone decides the weights, the record says it all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_classes import QUICK, FewStrokes

from episodes.errors import Interrupted
from episodes.sampler import EpisodeSampler
from episodes.types import EpisodeError, EpisodeSpec, ImageSet, Split
from fewshot import experiment
from fewshot.building import load_trained
from fewshot.checkpoints import BusyError, CheckpointError, load_tensors
from fewshot.configuration import RunConfig, resolve, short_hash, training_identity
from fewshot.evaluation import evaluate
from fewshot.experiment import evaluate_checkpoint, run
from fewshot.options import OptionError
from fewshot.records import RunRecord, read_record
from fewshot.reporting import Reporter
from fewshot.training import Progress as TrainingProgress
from fewshot.training import TrainingError

CONFIG = RunConfig(
    recipe=QUICK, encoder_options={"width": 8}, way=4, query=5, episodes=30, device="cpu", precision="fp32"
)
CPU = torch.device("cpu")


class Listener(Reporter):
    """Keeps what is said and how far training came; may stop it."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.said: list[str] = []
        self.trained: list[int] = []
        self.stop_at = stop_at

    def say(self, text: str) -> None:
        self.said.append(text)

    def training_progress(self, progress: TrainingProgress) -> None:
        self.trained.append(progress.episode)
        if self.stop_at == progress.episode:
            signal.raise_signal(signal.SIGINT)


def checkpoint_of(record: RunRecord) -> Path:
    return Path(record.config["checkpoint"])


def changed_pixels(split: Split, seed: int = 0) -> ImageSet:
    image_set = FewStrokes().load(split)
    pixels = torch.randint(0, 256, image_set.images.shape, generator=torch.Generator().manual_seed(seed))
    return replace(image_set, images=pixels.to(torch.uint8), fingerprint=f"noise {seed}")


def identity_of(config: RunConfig = CONFIG, precision: Any = "fp32", **replaced: Any) -> dict[str, Any]:
    dataset = FewStrokes(**replaced)
    train_set, val_set = dataset.load("train"), dataset.load("val")
    return training_identity(resolve(config, train_set, val_set), dataset, train_set, val_set, precision)


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
    assert (record.accuracy, record.ci95) == (expected.interval.mean, expected.interval.ci95)
    assert record.episodes_digest == sampler.digest(30)
    assert record.protocol == "strokes-standard-28-c50/4w1s/q5@v1"
    assert (record.num_episodes, record.num_queries, record.episode_seed, record.seed) == (30, 20, 0, 0)
    assert record.num_parameters == sum(p.numel() for p in load_trained(checkpoint_of(record), CPU).method.parameters())
    assert (record.transductive, record.uses_unlabeled, record.shortened) == (False, False, False)
    assert record.config["recipe"]["train_episodes"] == QUICK.train_episodes
    assert record.config["encoder_options"] == {"width": 8}
    assert [look["episode"] for look in record.training["history"]] == [10, 20, 30]
    assert record.training["selected_episode"] in (10, 20, 30)
    assert {"python", "torch", "numpy"} <= record.versions.keys()
    assert record.machine["device"] == "cpu"
    assert record.seconds["training"] > 0
    assert "ddof 1" in record.ci_formula
    json.dumps(asdict(record), allow_nan=False)


def test_the_selected_weights_are_those_that_validated_best(tmp_path: Path) -> None:
    record, _ = run(CONFIG, FewStrokes(), tmp_path)
    history = record.training["history"]
    best = max(history, key=lambda look: look["accuracy"])
    assert record.training["val_accuracy"] == best["accuracy"]
    method = load_trained(checkpoint_of(record), CPU).method
    sampler = EpisodeSampler(FewStrokes().load("val"), EpisodeSpec(4, 1, QUICK.val_query), 1)
    assert evaluate(method, sampler, QUICK.val_episodes).interval.mean == best["accuracy"]


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
    losses = [[look["loss"] for look in record.training["history"]] for record in (usual, other)]
    assert losses[0] == losses[1]
    looks = [[look["accuracy"] for look in record.training["history"]] for record in (usual, other)]
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
    assert again.training == first.training


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


def stopped_state(out: Path) -> Path:
    """The state that an interrupted run left."""
    with pytest.raises(Interrupted, match="the same command goes on"):
        run(CONFIG, FewStrokes(), out, Listener(stop_at=20))
    (state,) = out.glob("checkpoints/*/state.safetensors")
    assert not (state.parent / "checkpoint.safetensors").exists()
    return state


def test_an_interrupted_run_goes_on_to_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, _ = run(CONFIG, FewStrokes(), tmp_path / "undisturbed")
    state = stopped_state(tmp_path / "disturbed")
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path / "disturbed", listener)
    assert min(listener.trained) > 20
    assert not state.exists()
    expected, found = (load_tensors(checkpoint_of(r))[0] for r in (undisturbed, record))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert record.correct == undisturbed.correct


def test_fresh_forgets_the_state_of_an_interrupted_run(tmp_path: Path) -> None:
    stopped_state(tmp_path)
    listener = Listener()
    run(CONFIG, FewStrokes(), tmp_path, listener, fresh=True)
    assert min(listener.trained) <= 20


def test_killed_between_the_last_step_and_the_checkpoint_the_run_ends_without_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, _ = run(CONFIG, FewStrokes(), tmp_path / "undisturbed")

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "save_tensors", die)
        with pytest.raises(Killed):
            run(CONFIG, FewStrokes(), tmp_path / "disturbed")
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path / "disturbed", listener)
    assert listener.trained == []
    assert record.correct == undisturbed.correct
    assert record.training["history"][-1]["episode"] == QUICK.train_episodes


def test_a_second_run_of_the_same_training_is_refused_and_harms_nothing_even_with_fresh(tmp_path: Path) -> None:
    state = stopped_state(tmp_path)
    before = state.read_bytes()
    code = (
        "import sys; from pathlib import Path; from fewshot.checkpoints import sole_trainer\n"
        "with sole_trainer(Path(sys.argv[1])): print('holding', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(state.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        for fresh in (False, True):
            with pytest.raises(BusyError, match="already running"):
                run(CONFIG, FewStrokes(), tmp_path, fresh=fresh)
        other.kill()
    assert state.read_bytes() == before


def test_a_full_disk_at_the_checkpoint_loses_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "checkpoint.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            run(CONFIG, FewStrokes(), tmp_path)
    listener = Listener()
    record, _ = run(CONFIG, FewStrokes(), tmp_path, listener)
    assert listener.trained == []
    assert checkpoint_of(record).is_file()


def test_a_loss_that_is_no_number_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--learning-rate"):
        run(replace(CONFIG, recipe=replace(QUICK, learning_rate=1e30, warmup=0)), FewStrokes(), tmp_path)
    assert [*tmp_path.glob("checkpoints/*/checkpoint.safetensors")] == []
    for state in tmp_path.glob("checkpoints/*/state.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_tensors(state)[0].values())


RECIPE_CHANGES: dict[str, Any] = {
    "name": "fast",
    "source": "another",
    "train_way": 5,
    "train_query": 3,
    "train_episodes": 31,
    "learning_rate": 2e-2,
    "schedule": "halving",
    "val_way": 5,
    "train_shot": 2,
    "halve_every": 7,
    "warmup": 4,
    "weight_decay": 0.1,
    "val_query": 3,
    "val_episodes": 21,
    "validate_every": 11,
    "labeled_share": 0.5,
    "unlabeled": 3,
    "distractors": 1,
}
CONFIG_CHANGES: dict[str, Callable[[RunConfig], RunConfig]] = {
    "model": lambda config: replace(config, model="matching"),
    "model option": lambda config: replace(config, model_options={"distance": "cosine"}),
    "encoder option": lambda config: replace(config, encoder_options={"width": 9}),
    "no encoder option": lambda config: replace(config, encoder_options={}),
    "seed": lambda config: replace(config, seed=1),
}


def test_a_change_of_every_field_of_the_recipe_is_another_training() -> None:
    assert RECIPE_CHANGES.keys() == asdict(QUICK).keys()
    hashes = [short_hash(identity_of())]
    for name, value in RECIPE_CHANGES.items():
        model = "soft-kmeans-proto" if name in ("unlabeled", "distractors") else "proto"
        base = replace(CONFIG, model=model)
        if name == "distractors":
            base = replace(base, recipe=replace(QUICK, unlabeled=2))
        changed = replace(base, recipe=replace(base.recipe, **{name: value}))
        assert short_hash(identity_of(changed)) != short_hash(identity_of(base)), name
        hashes.append(short_hash(identity_of(changed)))
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("change", sorted(CONFIG_CHANGES))
def test_a_change_of_model_encoder_option_or_seed_is_another_training(change: str) -> None:
    assert short_hash(identity_of(CONFIG_CHANGES[change](CONFIG))) != short_hash(identity_of())


def test_other_pixels_or_another_precision_are_another_training() -> None:
    hashes = {
        short_hash(identity)
        for identity in (
            identity_of(),
            identity_of(train=changed_pixels("train")),
            identity_of(val=changed_pixels("val")),
            identity_of(precision="bf16"),
        )
    }
    assert len(hashes) == 4


def test_what_only_the_test_is_about_is_no_other_training() -> None:
    """With training way and shot given by the recipe, way, query, episodes and episode seed are the test's alone."""
    expected = short_hash(identity_of())
    for change in ({"way": 3}, {"query": 2}, {"episodes": 7}, {"episode_seed": 5}, {"device": "auto"}):
        assert short_hash(identity_of(replace(CONFIG, **change))) == expected


def test_a_default_said_aloud_is_no_other_training() -> None:
    said = replace(CONFIG, model_options={"distance": "euclidean"}, encoder="conv4")
    assert short_hash(identity_of(said)) == short_hash(identity_of())
    typed = replace(CONFIG, encoder_options={"width": "8"})  # a word of the command line
    assert short_hash(identity_of(typed)) == short_hash(identity_of())


def test_the_recipe_is_filled_from_the_test_where_it_is_open() -> None:
    dataset = FewStrokes()
    train_set, val_set = dataset.load("train"), dataset.load("val")
    open_recipe = replace(QUICK, train_way=None, train_shot=None, val_way=None)
    filled = resolve(replace(CONFIG, recipe=open_recipe, way=7, shot=3), train_set, val_set).recipe
    assert (filled.train_way, filled.train_shot) == (7, 3)
    assert filled.val_way == min(7, val_set.num_classes) == 6
    assert resolve(CONFIG, train_set, val_set).recipe == QUICK


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
    same, _ = evaluate_checkpoint(
        path, FewStrokes(), EpisodeSpec(4, 1, 5), 30, 0, tmp_path, Reporter(), device="cpu", precision="fp32"
    )
    assert same.correct == first.correct
    assert same.episodes_digest == first.episodes_digest
    harder, harder_path = evaluate_checkpoint(path, FewStrokes(), EpisodeSpec(10, 1, 5), 30, 0, tmp_path, Reporter())
    assert harder.protocol == "strokes-standard-28-c50/10w1s/q5@v1"
    assert harder.accuracy < first.accuracy
    assert read_record(harder_path) == harder
    assert harder.training == first.training


def test_a_checkpoint_for_other_images_is_refused_in_one_line(tmp_path: Path) -> None:
    first, _ = run(CONFIG, FewStrokes(), tmp_path)
    image_set = FewStrokes().load("test")
    wide = replace(image_set, images=image_set.images.repeat(1, 1, 2, 2))
    with pytest.raises(CheckpointError, match=r"trained on images of \(1, 28, 28\).* are \(1, 56, 56\)") as error:
        evaluate_checkpoint(
            checkpoint_of(first), FewStrokes(test=wide), EpisodeSpec(4, 1, 5), 5, 0, tmp_path, Reporter()
        )
    assert "\n" not in str(error.value)


def test_a_semi_supervised_model_is_trained_and_tested_with_unlabeled_images(tmp_path: Path) -> None:
    recipe = replace(QUICK, unlabeled=2, distractors=1, train_episodes=4, validate_every=4)
    record, _ = run(replace(CONFIG, model="soft-kmeans-proto", recipe=recipe), FewStrokes(), tmp_path)
    assert record.uses_unlabeled
    assert record.protocol == "strokes-standard-28-c50/4w1s/q5u2d1@v1"
