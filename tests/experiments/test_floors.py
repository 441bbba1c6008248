"""Floor rows: random weights and raw pixels, tested like a trained model and never trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import SMOKE, Fewshot, checkpoint_of, draw_trainings, record_in
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.encoders.pixels import Pixels
from fewshot.models.factory import build_method
from fewshot.models.readouts import READOUTS
from fewshot.models.tensor_files import load_tensors
from fewshot.records.record import read_record
from toy_classes import GRAY, FewStrokes, toy_set
from toy_embeddings import toy_episodes

UNTRAINED = ("run", "--model", "untrained", "--dataset", "strokes", "--episodes", "20", "--query", "5")


def test_pixels_are_the_normalized_images_row_by_row() -> None:
    images = toy_set().images
    embeddings = Pixels(GRAY)(images)
    assert embeddings.shape == (len(images), 28 * 28)
    torch.testing.assert_close(embeddings, images.float().flatten(1) / 255)


def test_its_rule_is_the_nearest_class_mean() -> None:
    support, query, _ = toy_episodes()
    logits = build_method("untrained", {}, "pixels", {}, GRAY, 0).logits(support, query)
    expected = -(query[:, :, None] - support.mean(2)[:, None]).square().sum(-1)
    torch.testing.assert_close(logits, expected)


def test_an_untrained_encoder_keeps_the_weights_of_its_seed(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_trainings(monkeypatch)
    outcome = fewshot(*UNTRAINED, "--width", "8", "--seed", "3", "--precision", "fp32")
    record = record_in(outcome)
    tensors, _ = load_tensors(checkpoint_of(record))
    fresh = build_method("untrained", {}, "conv4", {"width": 8}, GRAY, 3)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in fresh.state_dict().items())
    sampler = EpisodeSampler(FewStrokes().load("test"), EpisodeSpec(5, 1, 5), 0)
    assert np.array_equal(record.counts, evaluate(fresh, sampler, 20).correct)
    assert (record.recipe, record.shortened, record.cost.training_seconds) == ("none", False, 0)
    assert "training" not in [line.split()[0] for line in outcome.out.splitlines()]
    assert not checkpoint_of(record).with_name("training.png").exists()


def test_pixels_are_read_out_in_every_way_and_their_checkpoint_serves_every_test(fewshot: Fewshot) -> None:
    words = ("--encoder", "pixels", "--readout", "all")
    assert fewshot(*UNTRAINED, *words).status == fewshot(*UNTRAINED, *words, "--way", "3", "--shot", "2").status == 0
    records = [read_record(path) for path in Path("runs/records").glob("untrained_*.json")]
    assert len(records) == 2 * len(READOUTS)
    (checkpoint,) = {checkpoint_of(record) for record in records}
    outcome = fewshot("evaluate", checkpoint, "--dataset", "strokes", "--episodes", "20", "--query", "5", "--way", "3")
    assert record_in(outcome).protocol == "strokes-standard-28-c50/3w1s/q5@v1"
    assert {record.num_parameters for record in records} == {0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--train-episodes", "5", "--seed", "1"), "model untrained is not trained: leave out --train-episodes"),
        (("--init", "a.safetensors"), "model untrained is not trained: leave out --init"),
        (("--recipe", "paper"), "model untrained is not trained: leave out --recipe"),
    ],
    ids=str,
)
def test_how_to_train_what_is_not_trained_is_refused(fewshot: Fewshot, words: tuple[str, ...], message: str) -> None:
    assert message in fewshot(*UNTRAINED, *words).error


def test_a_model_without_a_weight_cannot_be_trained_and_says_what_to_do(fewshot: Fewshot) -> None:
    words = tuple(word for word in SMOKE if word not in ("--width", "8"))
    error = fewshot(*words, "--encoder", "pixels").error
    assert "model proto with --encoder pixels has nothing to train: --model untrained tests it" in error
