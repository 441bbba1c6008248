"""What our speed is held against does the same work, and does it right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fewshot.bench import libraries as contenders
from fewshot.bench.libraries import CONTENDERS, our_step, ratios, scoring, stepping
from fewshot.bench.loop import convolution_work
from fewshot.models import learn2learn_adapter
from fewshot.models.encoders.conv import Conv4
from fewshot.training import optimizers
from toy_bench import TINY
from toy_classes import toy_set


@pytest.mark.parametrize("training", [True, False])
def test_plain_conv4_gives_the_embeddings_of_ours_for_the_same_weights(training: bool) -> None:
    ours, plain = Conv4((1, 28, 28)).train(training), contenders._plain_conv4(1).train(training)
    convolutions = [layer for layer in plain.modules() if isinstance(layer, nn.Conv2d)]
    for block, convolution in zip(ours.blocks, convolutions, strict=True):
        convolution.weight.data = block.convolution.weight.data.clone()  # type: ignore[union-attr, operator]
        assert convolution.bias is not None
        convolution.bias.data.zero_()
    images = toy_set().images
    assert torch.allclose(ours(images), plain(images.float() / 255), atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name != "ours"])
def test_a_contender_labels_its_episodes_rightly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of a class are all alike here and the network is the identity: every query finds its class."""
    if reason := CONTENDERS[name].why_not():
        pytest.skip(reason)
    monkeypatch.setattr(contenders, "_plain_conv4", lambda _: nn.Flatten())
    if name == "learn2learn":
        models = learn2learn_adapter.import_learn2learn().vision.models
        monkeypatch.setattr(models, "CNN4Backbone", lambda **_: nn.Identity())
    opponent = CONTENDERS[name].opponent
    assert opponent is not None
    test = scoring(*opponent(TINY, toy_set(noise=0), TINY.test))
    assert [test() for _ in range(5)] == [1.0] * 5


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_step_of_every_contender_learns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := CONTENDERS[name].why_not():
        pytest.skip(reason)
    made: list[nn.Module] = []
    opponent = CONTENDERS[name].opponent
    adam = torch.optim.Adam if opponent else optimizers._Adam
    monkeypatch.setattr(adam, "step", _noting_the_step(adam.step, made))
    step = stepping(*opponent(TINY, toy_set(), TINY.train)) if opponent else our_step(TINY, toy_set())
    step()
    step()
    assert len(made) == 2


def _noting_the_step(plain, made: list[nn.Module]):  # type: ignore[no-untyped-def]
    """Adam's step, which must find a gradient in every parameter and change some weight."""

    def step(self, closure=None):  # type: ignore[no-untyped-def]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        assert all(parameter.grad is not None for parameter in parameters)
        before = [parameter.detach().clone() for parameter in parameters]
        plain(self, closure)
        assert any(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
        made.append(self)

    return step


def test_ratios_say_how_many_times_faster_we_are_at_the_same_work() -> None:
    told = {"setting": TINY.name, "training": "one by one", "testing": "each alone"}
    lines = [
        told | {"name": "ours", "title": "we", "step_ms": 100.0, "test_s": 10.0, "embedding_ms": 5.0},
        told | {"name": "easyfsl", "title": "easyfsl", "step_ms": 450.0, "test_s": 4000.0, "embedding_ms": 20.0},
    ]
    step, test, embedding = ratios(lines)
    assert (step["value"], test["value"], embedding["value"]) == (4.5, 400.0, 4.0)
    assert step["what"] == "easyfsl 450 ms, ours 100.0 ms; one by one"
    assert "each alone" in test["what"]


def test_the_layout_of_a_plain_network_is_the_one_it_is_called_by() -> None:
    """Of weights and images alike, where there is more than one channel; what is computed is the same."""
    made, seen = [], list[bool]()
    images = toy_set(image_shape=(3, 28, 28))
    for name, last in (("plain", False), ("plain-channels-last", True)):
        torch.manual_seed(0)
        opponent = CONTENDERS[name].opponent
        assert opponent is not None
        network, following = opponent(replace(TINY, image_shape=(3, 28, 28)), images, TINY.test)
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        assert first.weight.is_contiguous(memory_format=torch.channels_last) == last
        first.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
        made.append(following()[0])
        assert seen.pop() != last
    torch.testing.assert_close(made[0], made[1], rtol=1e-3, atol=1e-3)


def test_work_is_counted_from_the_sizes_of_the_maps() -> None:
    """28, 14, 7 and 3 pixels a side; two operations a product; the first layer sends no gradient to the images."""
    layers = [2 * 9 * channels * 64 * side**2 for channels, side in ((1, 28), (64, 14), (64, 7), (64, 3))]
    work = convolution_work(Conv4((1, 28, 28)))
    assert work.embedding == sum(layers)
    assert work.training == 3 * sum(layers) - layers[0]
