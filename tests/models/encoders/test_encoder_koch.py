"""Koch's twin against figure 4 and section 3.2 of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from episodes.errors import UserError
from fewshot.models.encoders.koch import Koch
from fewshot.models.factory import build_method

PAPER = (1, 105, 105)


def test_the_twin_has_the_sizes_of_the_papers_figure() -> None:
    with torch.device("meta"):  # 38 million weights, of which none is needed here
        encoder = Koch(PAPER)
        sizes = [tuple(layer.weight.shape) for layer in encoder.convolutions if isinstance(layer, nn.Conv2d)]
        maps = encoder.convolutions(torch.zeros(1, *PAPER))
    assert sizes == [(64, 1, 10, 10), (128, 64, 7, 7), (128, 128, 4, 4), (256, 128, 4, 4)]
    assert maps.shape == (1, 256, 6, 6)
    assert tuple(encoder.code.weight.shape) == (4096, 9216)
    assert encoder.feature_shape == (4096,)


def test_codes_are_sigmoids_of_images_down_to_65_pixels() -> None:
    codes = Koch((1, 65, 70), units=16, initialization="he")(torch.randint(0, 256, (2, 1, 65, 70), dtype=torch.uint8))
    assert codes.shape == (2, 16)
    assert ((codes > 0) & (codes < 1)).all()
    with pytest.raises(UserError, match="65x65 or more"):
        Koch((1, 64, 64))


def test_the_papers_first_weights_are_those_of_its_section_3_2() -> None:
    torch.manual_seed(0)
    encoder = Koch((1, 65, 65), units=512)
    second = encoder.convolutions[3]
    assert isinstance(second, nn.Conv2d)
    assert second.bias is not None
    for tensor, mean, deviation in (
        (second.weight, 0, 0.01),
        (second.bias, 0.5, 0.01),
        (encoder.code.weight, 0, 0.2),
        (encoder.code.bias, 0.5, 0.01),
    ):
        assert tensor.mean().item() == pytest.approx(mean, abs=5 * deviation / tensor.numel() ** 0.5)
        assert tensor.std().item() == pytest.approx(deviation, rel=0.3)


def test_siamese_scores_pairs_of_these_codes() -> None:
    method = build_method("siamese", {}, "koch", {"units": 8, "initialization": "he"}, (1, 65, 65), seed=0)
    images = torch.randint(0, 256, (3, 1, 65, 65), dtype=torch.uint8)
    codes = method.embed(images)
    scores = method.logits(codes[None, :2, None], codes[None, 2:])
    assert scores.shape == (1, 1, 2)
    weigh = method.weigh
    assert isinstance(weigh, nn.Linear)
    expected = (codes[2] - codes[:2]).abs() @ weigh.weight[0] + weigh.bias
    torch.testing.assert_close(scores[0, 0], expected)
