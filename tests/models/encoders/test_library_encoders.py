from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.errors import UserError
from fewshot.models.encoders.base import ImageShape
from fewshot.models.encoders.conv import Conv4
from fewshot.models.encoders.library import find_encoder, without_classifier
from fewshot.models.tensor_files import load_tensors
from toy_classes import COLOR, GRAY, toy_set


@pytest.mark.parametrize(
    ("name", "image_shape", "dim"),
    [("resnet18", GRAY, 512), ("resnet18", COLOR, 512), ("mobilenet_v3_small", COLOR, 1024)],
)
def test_a_network_of_torchvision_embeds_without_its_classifier(name: str, image_shape: ImageShape, dim: int) -> None:
    encoder = find_encoder(name)(image_shape)
    features = encoder(toy_set(2, 2, image_shape).images)
    assert features.shape == (4, dim)
    assert encoder.dim == dim
    assert encoder.training
    assert not [module for module in encoder.modules() if isinstance(module, nn.Linear) and module.out_features == 1000]
    torch.autograd.backward(features.square().sum())
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm")
@pytest.mark.filterwarnings("default")
def test_a_network_of_timm_embeds() -> None:
    encoder = find_encoder("resnet10t")(GRAY)
    assert encoder(toy_set(1, 2).images).shape == (2, *encoder.feature_shape) == (2, 512)
    assert "timm" in encoder.title


def test_our_own_names_come_first() -> None:
    assert find_encoder("conv4") is Conv4


def test_an_unknown_name_is_answered_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown encoder 'conv5'\. Did you mean 'conv4'"):
        find_encoder("conv5")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    find_encoder.cache_clear()
    with pytest.raises(UserError, match="timm, which has more, is not installed: pip install timm"):
        find_encoder("resnet10t")


def test_a_network_that_needs_other_images_says_so() -> None:
    with pytest.raises(UserError, match="this encoder does not work on images of 28x28"):
        find_encoder("vit_b_32")(GRAY)


def test_only_the_last_linear_layer_is_taken_off() -> None:
    network = without_classifier(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 1000))))
    assert network(torch.ones(2, 3)).shape == (2, 4)
    assert without_classifier(nn.ReLU())(torch.ones(2)).shape == (2,)


def test_a_run_with_an_encoder_of_torchvision(fewshot: Fewshot) -> None:
    words = [word for word in SMOKE if word not in ("--width", "8")]
    words = [*words, "--encoder", "squeezenet1_1", "--model", "softmax", "--batch-size", "8", "--train-episodes", "1"]
    record = record_in(fewshot(*words))
    assert record.trained.encoder == "squeezenet1_1"
    again = fewshot("evaluate", checkpoint_of(record), "--episodes", "20", "--query", "5", "--way", "3")
    assert record_in(again).trained.encoder == "squeezenet1_1"


def test_a_training_starts_from_the_encoder_of_a_checkpoint(fewshot: Fewshot) -> None:
    first = record_in(fewshot(*SMOKE, "--model", "softmax"))
    words = (*SMOKE, "--model", "proto", "--train-episodes", "1", "--learning-rate", "1e-12")
    started = record_in(fewshot(*words, "--init", checkpoint_of(first)))
    plain = record_in(fewshot(*words))
    assert (started.trained.init or "").startswith("softmax ")
    assert plain.trained.init is None
    weights = [load_tensors(checkpoint_of(record))[0] for record in (first, started, plain)]
    name = "encoder.blocks.0.convolution.weight"
    assert torch.allclose(weights[1][name], weights[0][name], atol=1e-6)
    assert not torch.allclose(weights[1][name], weights[2][name], atol=1e-3)


def test_weights_of_another_encoder_are_refused(fewshot: Fewshot) -> None:
    first = record_in(fewshot(*SMOKE, "--model", "softmax"))
    wider = [word if word != "8" else "9" for word in SMOKE]
    error = fewshot(*wider, "--init", checkpoint_of(first)).error
    assert "are those of another encoder than this Conv4" in error
    assert "there is no checkpoint" in fewshot(*SMOKE, "--init", "nowhere").error
