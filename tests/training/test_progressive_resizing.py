"""Progressive resizing: the first steps of a training see images of half the side."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from episodes.augment import half_size
from episodes.errors import UserError
from fewshot.experiments.config import RunConfig
from fewshot.experiments.resolve import recipe_of
from fewshot.models.encoders import ENCODERS
from fewshot.models.methods import Method
from fewshot.training.loop import train
from toy_classes import COLOR, GRAY, QUICK, toy_set
from toy_training import identical, measure, method_of, sampler_of, scripted, weights_of

TAKING_BOTH = sorted(name for name in ENCODERS if ENCODERS.get(name).takes_half_size)


def test_a_pixel_of_half_the_size_is_the_mean_of_four() -> None:
    images = torch.tensor([[0, 4, 10, 10], [8, 4, 10, 13]], dtype=torch.uint8).view(1, 1, 2, 4)
    assert half_size(images).tolist() == [[[[4, 11]]]]
    assert half_size(toy_set(2, 2, COLOR).images).shape == (4, 3, 42, 42)


@pytest.mark.parametrize("name", TAKING_BOTH)
@pytest.mark.parametrize("shape", [GRAY, COLOR])
def test_half_the_size_gives_as_many_features(name: str, shape: tuple[int, int, int]) -> None:
    encoder = ENCODERS.get(name)(shape).train()
    images = toy_set(2, 2, shape).images
    whole, half = encoder(images), encoder(half_size(images))
    assert whole.shape == half.shape == (4, *encoder.feature_shape)
    assert half.isfinite().all()


def test_an_encoder_of_one_size_takes_no_other() -> None:
    assert "koch" not in TAKING_BOTH
    with pytest.raises(UserError, match=r"not \(3, 42, 42\)"):
        ENCODERS.get("koch")(COLOR)(half_size(toy_set(1, 1, COLOR).images))
    config = RunConfig(model="siamese", encoder="koch", dataset="omniglot", half_size=0.5)
    with pytest.raises(UserError, match="leave out --half-size"):
        recipe_of(config, "omniglot")


def test_so_many_of_the_steps_see_half_the_size_and_all_others_and_the_test_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = method_of()
    seen: list[tuple[bool, int]] = []
    embed = type(method).embed

    def watching(self: Method, images: Tensor) -> Tensor:
        seen.append((self.training, images.shape[-1]))
        return embed(self, images)

    monkeypatch.setattr(type(method), "embed", watching)
    train(method, sampler_of(), replace(QUICK, half_size=0.3), measure)
    steps = [side for training, side in seen if training]
    assert steps == [14] * 9 + [28] * 21
    assert {side for training, side in seen if not training} == {28}


def test_weights_of_half_sized_images_alone_are_not_looked_at() -> None:
    """Their embeddings are of another scale: how well they do on whole images says little of what they will."""
    method = method_of()
    looks: list[dict[str, Tensor]] = []
    result = train(method, sampler_of(), replace(QUICK, half_size=0.5), scripted([0.3, 0.2], looks))
    assert [look.episode for look in result.history] == [20, 30]
    assert result.selected.episode == 20
    assert identical(weights_of(method), looks[0])
    late = train(method_of(), sampler_of(), replace(QUICK, half_size=0.99), scripted([0.3], []))
    assert late.selected.episode == 30, "the last is looked at in any case"
    whole = train(method_of(), sampler_of(), QUICK, scripted([0.9, 0.3, 0.2], []))
    assert whole.selected.episode == 10
    half = train(method_of(), sampler_of(), replace(QUICK, half_size=1.0), scripted([0.9, 0.3, 0.2], []))
    assert half.selected.episode == 10, "there are no others"
