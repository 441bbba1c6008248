"""The first block on patches against convolution, batch norm and pooling one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fewshot.models.encoders.conv
from fewshot.models.encoders import patched_convolution as first_block
from fewshot.models.encoders.conv import ConvBlock, set_batch_statistics
from fewshot.models.encoders.patched_convolution import pooled_on_patches, suits_patches

NUM_IMAGES = 100  # of 28x28: enough for the patches to be worth it


@pytest.fixture(autouse=True)
def repeated() -> None:
    torch.manual_seed(0)


def drawings(num: int = NUM_IMAGES, dtype: torch.dtype = torch.float64) -> Tensor:
    """Strokes of full ink on paper: many equal patches, many without ink."""
    ink = torch.rand(num, 1, 28, 28) > 0.95
    return functional.max_pool2d(ink.to(dtype), 3, 1, 1) * (torch.arange(28) > 9)


def photos(num: int = NUM_IMAGES, dtype: torch.dtype = torch.float64) -> Tensor:
    """Pixels of both signs, none of them zero."""
    return torch.randn(num, 1, 28, 28, dtype=dtype) + 3


def blank(num: int = NUM_IMAGES, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(num, 1, 28, 28, dtype=dtype)


def block(padding: int = 1, dtype: torch.dtype = torch.float64) -> ConvBlock:
    """As training may leave it: weights of batch norm of both signs, statistics far from 0 and 1."""
    made = ConvBlock(1, 32, padding=padding).to(dtype)
    nn.init.normal_(made.norm.weight)
    nn.init.normal_(made.norm.bias)
    assert made.norm.running_mean is not None
    assert made.norm.running_var is not None
    made.norm.running_mean.normal_()
    made.norm.running_var.uniform_(0.1, 3)
    return made.train()


@contextmanager
def without_patches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fewshot.models.encoders.conv, "suits_patches", lambda *_: False)
        yield


def trained(layer: ConvBlock, images: Tensor, weights: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """What a block makes of images, the gradients of its weights, and its statistics after that."""
    maps = layer(images)
    (maps.to(weights.dtype) * weights).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert all(gradient is not None for gradient in gradients)
    return maps.detach(), [gradient for gradient in gradients if gradient is not None], list(layer.buffers())


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-300))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("images", [drawings, photos])
def test_equal_in_double_precision(images: Callable[[], Tensor], padding: int) -> None:
    pixels, one = images(), block(padding)
    other = copy.deepcopy(one)
    assert suits_patches(pixels, one.convolution, one.norm)
    weights = torch.randn_like(one(pixels))
    one.load_state_dict(other.state_dict())
    maps, gradients, statistics = trained(one, pixels, weights)
    with without_patches():
        maps_expected, gradients_expected, statistics_expected = trained(other, pixels, weights)
    torch.testing.assert_close(maps, maps_expected, rtol=1e-9, atol=1e-9)
    for found, expected in zip(gradients, gradients_expected, strict=True):
        assert error(found, expected) < 1e-9
    for found, expected in zip(statistics, statistics_expected, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_images_without_ink_give_what_batch_norm_makes_of_zeros() -> None:
    pixels, one = blank(), block()
    other = copy.deepcopy(one)
    with without_patches():
        expected = other(pixels)
    torch.testing.assert_close(one(pixels), expected)
    torch.testing.assert_close(list(one.buffers()), list(other.buffers()))


def test_half_precision_is_as_near_to_full_precision_as_it_was() -> None:
    pixels, exact = drawings(200, torch.float32), block(dtype=torch.float32)
    fast, plain = copy.deepcopy(exact), copy.deepcopy(exact)
    weights = torch.randn(200, 32, 14, 14)
    with without_patches():
        maps_expected, gradients_expected, _ = trained(exact, pixels, weights)
        with torch.autocast("cpu", torch.bfloat16):
            maps_plain, gradients_plain, _ = trained(plain, pixels, weights)
    with torch.autocast("cpu", torch.bfloat16):
        maps, gradients, _ = trained(fast, pixels, weights)
    assert maps.dtype == maps_plain.dtype == torch.bfloat16
    assert 0 < error(maps, maps_expected) < 1.2 * error(maps_plain, maps_expected) < 0.02
    for found, of_plain, expected in zip(gradients, gradients_plain, gradients_expected, strict=True):
        assert error(found, expected) < 1.5 * error(of_plain, expected) + 1e-3


def test_rows_without_ink_are_left_out_and_their_number_is_round() -> None:
    rows = torch.zeros(20_000, 16)
    has_ink = torch.rand(20_000) < 0.3
    rows[has_ink, 7] = -1
    chosen = first_block._inked_rows(rows)
    assert len(chosen) % first_block._ROWS_TOGETHER == 0
    assert len(chosen) - int(has_ink.sum()) < first_block._ROWS_TOGETHER
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(has_ink.nonzero().flatten().tolist()) <= set(chosen.tolist())
    assert first_block._inked_rows(rows + 1).tolist() == list(range(20_000))


def test_statistics_do_not_drown_in_a_large_mean() -> None:
    pixels = 100 + torch.randn(NUM_IMAGES, 1, 28, 28)
    one = block(padding=0, dtype=torch.float32)
    with torch.no_grad():
        exact = one.convolution.double()(pixels.double())
        one.float()
        pooled_on_patches(pixels, one.convolution, one.norm)
        before = block(padding=0, dtype=torch.float32)
        before.convolution.load_state_dict(one.convolution.state_dict())
        assert before.norm.running_var is not None
        before.norm.running_var.zero_()
        pooled_on_patches(pixels, before.convolution, before.norm)
    found = before.norm.running_var / 0.1
    # as far as float32 goes: how a library of matrix products orders its sums decides between 1 and 3 percent
    torch.testing.assert_close(found.double(), exact.var((0, 2, 3)), rtol=0.05, atol=0.0)


@pytest.mark.parametrize(
    ("case", "pixels", "layer"),
    [
        ("color", torch.zeros(NUM_IMAGES, 3, 28, 28), ConvBlock(3, 8)),
        ("few images", torch.zeros(20, 1, 28, 28), ConvBlock(1, 8)),
        ("an odd side", torch.zeros(NUM_IMAGES, 1, 29, 28), ConvBlock(1, 8)),
        ("pixels that learn", torch.zeros(NUM_IMAGES, 1, 28, 28, requires_grad=True), ConvBlock(1, 8)),
        ("a GPU", torch.zeros(NUM_IMAGES, 1, 28, 28, device="meta"), ConvBlock(1, 8)),
    ],
)
def test_left_to_the_plain_block(case: str, pixels: Tensor, layer: ConvBlock) -> None:
    assert not suits_patches(pixels, layer.convolution, layer.norm), case


def test_left_to_the_plain_block_with_the_statistics_of_the_test() -> None:
    layer = ConvBlock(1, 8)
    pixels = torch.zeros(NUM_IMAGES, 1, 28, 28)
    assert suits_patches(pixels, layer.convolution, layer.norm)
    set_batch_statistics(layer)
    assert not suits_patches(pixels, layer.convolution, layer.norm)


def test_testing_never_comes_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, pixels = block(dtype=torch.float32), drawings(dtype=torch.float32)
    asked: list[Tensor] = []

    def noted(x: Tensor, *rest: nn.Module) -> Tensor:  # noqa: ARG001
        asked.append(x)
        return torch.zeros(NUM_IMAGES, 32, 14, 14)

    monkeypatch.setattr(fewshot.models.encoders.conv, "pooled_on_patches", noted)
    layer.eval()(pixels)
    assert not asked
    layer.train()(pixels)
    assert asked
