"""Conv4 against its description in the papers, and against itself computed another way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.encoders.conv import Conv4, ConvBlock
from fewshot.models.factory import build_method, place
from toy_classes import COLOR, GRAY, toy_set


def awkward_norms(encoder: nn.Module, seed: int = 0) -> None:
    """Batch norms as training may leave them: negative scales, means and variances far from 0 and 1."""
    torch.manual_seed(seed)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.1, 3)


def textbook_forward(encoder: Conv4, images: Tensor, training: bool) -> Tensor:
    """The blocks as the papers write them: convolution, batch norm, ReLU, 2x2 max pooling, nothing folded."""
    x = (images.to(encoder.mean.dtype) / 255 - encoder.mean) / encoder.std
    for block in encoder.blocks:
        assert isinstance(block, ConvBlock)
        norm = block.norm
        x = functional.conv2d(x, block.convolution.weight, padding=1)
        x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training)
        x = functional.max_pool2d(functional.relu(x), 2)
    return x.flatten(1)


@pytest.mark.parametrize(("image_shape", "dim"), [(GRAY, 64), ((3, 28, 28), 64), (COLOR, 1600), ((1, 84, 84), 1600)])
def test_conv4_makes_64_numbers_of_28_pixels_and_1600_of_84(image_shape: tuple[int, int, int], dim: int) -> None:
    encoder = Conv4(image_shape)
    images = torch.zeros(3, *image_shape, dtype=torch.uint8)
    assert encoder.eval()(images).shape == (3, dim)
    assert encoder.train()(images).shape == (3, dim)
    assert encoder.dim == dim
    assert encoder.feature_shape == (dim,)


def test_number_of_parameters_is_that_of_four_convolutions_without_bias_and_four_norms() -> None:
    weights = sum(64 * in_channels * 3 * 3 for in_channels in (1, 64, 64, 64))
    assert sum(parameter.numel() for parameter in Conv4(GRAY).parameters()) == weights + 4 * 2 * 64 == 111_680


def test_width_is_the_number_of_channels() -> None:
    assert Conv4(GRAY, width=16).dim == 16
    assert Conv4(COLOR, width=16).dim == 16 * 25


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("image_shape", [GRAY, COLOR])
def test_pooling_first_and_folding_change_nothing(image_shape: tuple[int, int, int], training: bool) -> None:
    encoder = Conv4(image_shape, width=16).double()
    awkward_norms(encoder)
    encoder.train(training)
    images = toy_set(4, 2, image_shape).images
    expected = textbook_forward(encoder, images, training)
    assert expected.std() > 0.01
    torch.testing.assert_close(encoder(images), expected, rtol=1e-9, atol=1e-9)


def test_folding_costs_no_more_than_rounding_in_float32() -> None:
    encoder = Conv4(GRAY)
    awkward_norms(encoder)
    images = toy_set().images
    expected = textbook_forward(encoder.eval(), images, training=False).detach()
    torch.testing.assert_close(encoder(images).detach(), expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


def test_batch_norm_sees_the_batch_in_training_and_each_image_alone_in_evaluation() -> None:
    encoder, images = Conv4(GRAY, width=16), toy_set().images
    encoder.train()
    assert not torch.allclose(encoder(images)[:2], encoder(images[:2]), rtol=1e-2)
    encoder.eval()
    torch.testing.assert_close(encoder(images)[:2], encoder(images[:2]), rtol=1e-5, atol=1e-6)


def test_running_statistics_move_in_training_only() -> None:
    encoder, images = Conv4(GRAY, width=16), toy_set().images
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.eval()(images)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    encoder.train()(images)
    moved = {name for name, tensor in encoder.state_dict().items() if not torch.equal(before[name], tensor)}
    assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}


def test_ink_is_one_and_paper_zero() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, *GRAY)
    normalized = Conv4(GRAY).normalize(images)
    torch.testing.assert_close(normalized[:, 0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))


def test_colors_are_centered_and_scaled_per_channel() -> None:
    statistics = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
    normalized = Conv4(COLOR).normalize(torch.full((1, *COLOR), 100, dtype=torch.uint8))
    expected = [(100 / 255 - mean) / std for mean, std in statistics]
    assert normalized[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_normalization_travels_with_the_weights() -> None:
    encoder = Conv4(COLOR, width=4)
    assert {"mean", "std"} <= set(encoder.state_dict())
    other = Conv4(COLOR, width=4)
    encoder.mean += 1
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other.mean, encoder.mean)


def test_pixels_and_maps_lie_channels_last_in_memory() -> None:
    method = place(build_method("proto", {}, "conv4", {"width": 8}, COLOR, seed=0), torch.device("cpu"))
    encoder = method.encoder
    assert isinstance(encoder, Conv4)
    maps: list[Tensor] = []
    for block in encoder.blocks:
        assert isinstance(block, ConvBlock)
        assert block.convolution.weight.is_contiguous(memory_format=torch.channels_last)
        block.convolution.register_forward_hook(lambda _, __, output: maps.append(output))
    images = toy_set(2, 2, COLOR).images
    assert encoder.normalize(images).is_contiguous(memory_format=torch.channels_last)
    encoder.train()(images)
    assert len(maps) == 4
    assert all(map_.is_contiguous(memory_format=torch.channels_last) for map_ in maps)


def test_layout_in_memory_changes_no_embedding() -> None:
    images = toy_set(3, 2, COLOR).images
    plain = build_method("proto", {}, "conv4", {"width": 8}, COLOR, seed=0).eval()
    placed = place(build_method("proto", {}, "conv4", {"width": 8}, COLOR, seed=0), torch.device("cpu")).eval()
    torch.testing.assert_close(placed.embed(images), plain.embed(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("other", [(1, 84, 84), (3, 28, 28), (1, 32, 28)])
def test_images_of_another_shape_are_refused_in_words(other: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match=r"made for images of \(1, 28, 28\), not \(" + str(other)[1:-1]):
        Conv4(GRAY)(torch.zeros(2, *other, dtype=torch.uint8))


def test_images_too_small_to_halve_four_times_are_refused_in_words() -> None:
    assert Conv4((1, 16, 16), width=4).dim == 4
    with pytest.raises(UserError, match="16x16 or more, not 15x20"):
        Conv4((1, 15, 20))


def test_distances_begin_at_one_scale_whatever_the_size_of_the_last_map() -> None:
    generator = torch.Generator().manual_seed(0)
    spreads = []
    for size in (28, 84):
        torch.manual_seed(0)
        encoder = Conv4((1, size, size)).train()
        images = torch.randint(0, 256, (40, 1, size, size), dtype=torch.uint8, generator=generator)
        embeddings = encoder(images).detach()
        spreads.append(torch.pdist(embeddings).square().mean().item())
    assert spreads[1] == pytest.approx(spreads[0], rel=0.5)
