"""Winograd's convolution against PyTorch's, in double precision and in single."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.encoders import winograd as module
from fewshot.models.encoders.conv import Conv4, ConvBlock
from fewshot.models.encoders.winograd import suits_winograd, winograd
from fewshot.models.hardware import side_by_side


def far(found: Tensor, expected: Tensor) -> float:
    """Length of the difference over that of what is expected."""
    return float((found - expected).detach().norm() / expected.detach().norm())


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 17), (42, 20)])
def test_it_is_the_plain_convolution_with_all_its_gradients(
    height: int, width: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TILES_TOGETHER", 30)  # several images, and a rest
    torch.manual_seed(0)
    shapes = (5, 3, height, width), (4, 3, 3, 3), (4,)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    x, weight, bias = given
    maps, expected = winograd(x, weight, bias, padding), functional.conv2d(x, weight, bias, padding=padding)
    assert torch.allclose(maps, expected, atol=1e-10)
    gradient = torch.randn_like(expected)
    for found, plain in zip(
        torch.autograd.grad(maps, given, gradient), torch.autograd.grad(expected, given, gradient), strict=True
    ):
        assert torch.allclose(found, plain, atol=1e-9)


def test_in_single_precision_it_rounds_a_little_more() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 64, 42, 42), torch.randn(64, 64, 3, 3)
    assert far(winograd(x, weight, None, 1).double(), functional.conv2d(x.double(), weight.double(), padding=1)) < 1e-5


def test_a_block_takes_it_where_it_is_quicker_and_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = ConvBlock(32, 32)
    plain, x, losses = copy.deepcopy(block), torch.randn(6, 32, 14, 14), []
    for one, here in ((block, True), (plain, False)):
        monkeypatch.setattr(module, "has_avx2_at_most", lambda here=here: here)
        assert suits_winograd(x, one.convolution) is here
        losses.append(one.train()(x).square().sum())
        losses[-1].backward()
        losses.append(one.eval()(x).square().sum())
    assert far(losses[0], losses[2]) < 1e-4
    assert far(losses[1], losses[3]) < 1e-4
    for found, expected in zip(block.parameters(), plain.parameters(), strict=True):
        assert found.grad is not None
        assert expected.grad is not None
        assert far(found.grad, expected.grad) < 1e-3


@pytest.mark.parametrize("case", ["double", "small", "few channels", "computed weights", "bfloat16"])
def test_what_it_is_not_for(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_avx2_at_most", lambda: True)
    convolution = nn.Conv2d(8 if case == "few channels" else 32, 32, 3, padding=1)
    x = torch.zeros(2, convolution.in_channels, 10 if case == "small" else 14, 14)
    assert not (case == "double" and suits_winograd(x.double(), convolution))
    if case == "computed weights":  # as of MAML in an episode: it may want second derivatives
        weight = convolution.weight * 1
        del convolution.weight
        convolution.weight = weight
    if case != "double":
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "bfloat16"):
            assert not suits_winograd(x, convolution)


def test_embeddings_need_no_gradient_and_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_avx2_at_most", lambda: True)
    encoder, images = Conv4((3, 84, 84)).eval(), torch.randint(256, (3, 3, 84, 84), dtype=torch.uint8)
    with torch.inference_mode():
        found = encoder(images)
    monkeypatch.setattr(module, "has_avx2_at_most", lambda: False)
    assert far(found, encoder(images)) < 1e-4


def test_side_by_side_keeps_the_order_and_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert side_by_side(lambda number: (number, torch.get_num_threads()), range(20)) == [(n, 1) for n in range(20)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
