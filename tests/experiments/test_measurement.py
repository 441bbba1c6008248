"""One training, one pass over the images: every read-out and every setting gets a record of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import checkpoint_of
from episodes.errors import UserError
from episodes.registry import UnknownNameError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation import embedding_cache as embeddings
from fewshot.evaluation import evaluate as evaluation
from fewshot.evaluation.evaluate import embed_all, evaluate, evaluate_readout
from fewshot.experiments.config import EvaluateConfig
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.measure import OWN_RULE, readouts_named, refuse_unreadable
from fewshot.experiments.run import run_readouts
from fewshot.models.factory import load_trained
from fewshot.models.methods import METHODS
from fewshot.models.readouts import READOUTS
from fewshot.records.record import read_record
from toy_classes import QUICK, FewStrokes, toy_method
from toy_runs import CONFIG, Listener, run

CPU = torch.device("cpu")


def test_words_name_readouts() -> None:
    assert readouts_named("all") == tuple(READOUTS)
    assert readouts_named("own") == (OWN_RULE,)
    assert readouts_named("svm, logistic,svm") == ("svm", "logistic")
    assert readouts_named("own,all") == (OWN_RULE, *READOUTS)
    with pytest.raises(
        UnknownNameError, match=r"unknown read-out 'logistics'\. Did you mean 'logistic'\? Valid: alpha"
    ):
        readouts_named("svm,logistics")


def test_one_training_gives_a_record_for_each_readout(tmp_path: Path) -> None:
    listener = Listener()
    outcomes = run_readouts(replace(CONFIG, readout="own,all"), FewStrokes(), tmp_path, listener)
    records = [record for record, _ in outcomes]
    assert [record.readout for record in records] == [OWN_RULE, *READOUTS]
    assert len({path for _, path in outcomes}) == len(records)
    assert len({record.episodes_digest for record in records}) == 1
    assert len({record.trained.checkpoint for record in records}) == 1
    assert listener.trained == [10, 20, 30]  # once
    assert all(read_record(path) == record for record, path in outcomes)
    by_name = {record.readout: record for record in records}
    assert by_name["prototype"].correct == by_name[OWN_RULE].correct  # which is what proto is
    assert by_name["prototype"].correct == by_name["nearest-neighbor"].correct  # at one shot
    assert len({record.correct for record in records}) > 3


def test_the_record_of_a_readout_says_what_scoring_its_table_says(tmp_path: Path) -> None:
    dataset = FewStrokes()
    ((record, path),) = run_readouts(replace(CONFIG, readout="simpleshot"), dataset, tmp_path)
    assert "_simpleshot_" in path.name
    method = load_trained(checkpoint_of(record), CPU).method
    train_set = dataset.load("train")
    mean = embed_all(method, train_set.images, "fp32").double().mean(0).float()
    sampler = EpisodeSampler(dataset.load("test"), EpisodeSpec(4, 1, 5), 0)
    table = embed_all(method, sampler.image_set.images, "fp32")
    expected = evaluate_readout(READOUTS.get("simpleshot")(), table, mean, sampler, 30)
    assert np.array_equal(record.counts, expected.correct)
    off_center = evaluate_readout(READOUTS.get("simpleshot")(), table, 5 * mean, sampler, 30)
    assert not np.array_equal(off_center.correct, expected.correct)


def test_the_own_rule_keeps_the_name_that_its_record_has_always_had(tmp_path: Path) -> None:
    (_, own), (_, svm) = run_readouts(replace(CONFIG, readout="own,svm"), FewStrokes(), tmp_path)
    assert run(CONFIG, FewStrokes(), tmp_path)[1] == own
    assert own.name.startswith("proto_strokes-standard-28-c50_4w1s_q5_smoke_")
    assert svm.name.startswith("proto_strokes-standard-28-c50_4w1s_q5_smoke_svm_")


def test_every_way_and_shot_is_scored_without_embedding_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run(CONFIG, FewStrokes(), tmp_path)
    calls: list[int] = []

    def counted(method: object, images: torch.Tensor, *rest: object) -> torch.Tensor:
        calls.append(len(images))
        return embed_all(method, images, *rest)  # type: ignore[arg-type]

    for module in (embeddings, evaluation):
        monkeypatch.setattr(module, "embed_all", counted)
    config = EvaluateConfig(
        checkpoint=checkpoint_of(first),
        way=(4, 10),
        shot=(1, 5),
        query=5,
        episodes=30,
        readout="simpleshot,logistic",
        device="cpu",
        precision="fp32",
    )
    outcomes = evaluate_again(config, FewStrokes(), tmp_path / "new")
    cells = [(record.test.way, record.test.shot, record.readout) for record, _ in outcomes]
    assert cells == [(way, shot, name) for way in (4, 10) for shot in (1, 5) for name in ("simpleshot", "logistic")]
    assert sorted(calls) == sorted(len(FewStrokes().load(split).images) for split in ("train", "test"))
    again = evaluate_again(config, FewStrokes(), tmp_path / "new")
    assert len(calls) == 2  # found on the disk
    assert [record.correct for record, _ in again] == [record.correct for record, _ in outcomes]


def test_chunks_of_any_size_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    method, sampler = toy_method(width=16), EpisodeSampler(FewStrokes().load("test"), EpisodeSpec(4, 2, 5), 0)
    table = embed_all(method, sampler.image_set.images, "fp32")
    for name in READOUTS:
        readout = READOUTS.get(name)()
        expected = evaluate_readout(readout, table, table.mean(0), sampler, 8).correct
        monkeypatch.setattr("fewshot.evaluation.evaluate._SCORING_CHUNK_ELEMENTS", 1)
        alone = evaluate_readout(readout, table, table.mean(0), sampler, 8).correct
        monkeypatch.undo()
        assert abs(alone.astype(int) - expected).sum() <= 1, name  # one near tie may fall the other way by rounding


def test_the_prototype_readout_is_what_a_prototypical_network_counts() -> None:
    method, sampler = toy_method(width=16), EpisodeSampler(FewStrokes().load("test"), EpisodeSpec(4, 2, 5), 0)
    table = embed_all(method, sampler.image_set.images, "fp32")
    found = evaluate_readout(READOUTS.get("prototype")(), table, None, sampler, 50)
    assert np.array_equal(found.correct, evaluate(method, sampler, 50).correct)
    assert found.num_queries == 20


def test_what_has_no_flat_embedding_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"model relation compares feature maps .* leave out --readout") as error:
        refuse_unreadable("relation", METHODS.get("relation"), ["svm"])
    assert "\n" not in str(error.value)
    refuse_unreadable("relation", METHODS.get("relation"), [OWN_RULE])
    method = toy_method()
    method.embeds_per_episode = True
    with pytest.raises(UserError, match="no embedding of an image alone"):
        refuse_unreadable("proto", method, ["svm"])


def test_a_semi_supervised_model_is_read_out_on_its_own_episodes(tmp_path: Path) -> None:
    recipe = replace(QUICK, unlabeled=2, train_episodes=2, validate_every=2)
    config = replace(CONFIG, model="soft-kmeans-proto", recipe=recipe, readout="own,prototype")
    (own, _), (read, _) = run_readouts(config, FewStrokes(), tmp_path)
    assert own.episodes_digest == read.episodes_digest
    assert own.correct != read.correct  # the read-out leaves the unlabeled images alone
