"""ResNet-12: its size, its layers against the released code's plain formula, DropBlock and FEAT's checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.encoders import ENCODERS
from fewshot.models.encoders.resnet12 import ResNet12, drop_blocks, released_weights
from fewshot.models.factory import build_method, initial_weights, start_from

SHAPE = (3, 84, 84)


def images(number: int = 2, size: int = 84) -> Tensor:
    return torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def released(encoder: ResNet12, batch: Tensor) -> Tensor:
    """A forward pass in evaluation by the tensors of a state dict and the names of the released code alone."""
    state = encoder.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        kept = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *kept)

    x = encoder.normalize(batch)
    for layer in ("layer1.0", "layer2.0", "layer3.0", "layer4.0"):
        maps = x
        for number in (1, 2, 3):
            maps = norm(
                functional.conv2d(maps, state[f"{layer}.conv{number}.weight"], padding=1), f"{layer}.bn{number}"
            )
            maps = functional.leaky_relu(maps, 0.1) if number < 3 else maps
        beside = norm(functional.conv2d(x, state[f"{layer}.downsample.0.weight"]), f"{layer}.downsample.1")
        x = functional.max_pool2d(functional.leaky_relu(maps + beside, 0.1), 2)
    return functional.avg_pool2d(x, 5).flatten(1)


def test_it_has_the_published_number_of_parameters_and_640_numbers() -> None:
    encoder = ResNet12(SHAPE)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 12_424_320  # 12.4 million
    assert encoder.dim == 640
    assert encoder.eval()(images()).shape == (2, 640)


def test_its_layers_are_those_of_the_released_code() -> None:
    encoder = ResNet12(SHAPE)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(images()), released(encoder, images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_drop_block_drops_squares_and_keeps_the_mean(size: int) -> None:
    torch.manual_seed(0)
    dropped = drop_blocks(torch.ones(200, 16, 10, 10), 0.1, size)
    assert abs(float(dropped.mean()) - 1) < 1e-5
    gone = (dropped == 0).float()
    assert 0.07 < float(gone.mean()) < 0.11  # squares overlap
    corners = -functional.max_pool2d(-gone, size, stride=1)  # where a whole square is gone
    covered = functional.max_pool2d(functional.pad(corners, [size - 1] * 4), size, stride=1)
    assert torch.equal(covered, gone)


def test_training_drops_more_with_every_batch_and_evaluation_nothing() -> None:
    encoder = ResNet12((3, 32, 32))
    batch = images(4, 32)
    assert torch.equal(encoder.eval()(batch), encoder(batch))
    encoder.train()
    seen: list[float] = []
    for batches in (0, 40_000):
        for block in (encoder.layer3[0], encoder.layer4[0]):
            block.get_buffer("bn1.num_batches_tracked").fill_(batches)
        torch.manual_seed(0)
        maps = encoder.layer3(encoder.layer2(encoder.layer1(encoder.normalize(batch))))
        seen.append(float((maps == 0).float().mean()))
    assert seen[0] < 0.01 < seen[1]
    still = ResNet12((3, 32, 32), drop_share=0.0).train()
    assert torch.equal(still(batch), still(batch))


def feat_file(path: Path, encoder: ResNet12) -> Path:
    """Weights in FEAT's layout: under `params`, with the classifier of the pretraining."""
    state = {name: tensor for name, tensor in encoder.state_dict().items() if name not in ("mean", "std")}
    state = {f"encoder.{name}": tensor for name, tensor in state.items() if "num_batches" not in name}
    torch.save({"params": state | {"fc.weight": torch.zeros(64, 640), "fc.bias": torch.zeros(64)}}, path)
    return path


def test_a_training_starts_from_feats_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = ResNet12(SHAPE)
    initial = initial_weights(feat_file(tmp_path / "Res12-pre.pth", theirs))
    method = build_method("proto", {}, "resnet12", {}, SHAPE, seed=0)
    start_from(method, initial)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) / 255 for values in FEAT_PIXELS)
    theirs.mean, theirs.std = mean, std
    torch.testing.assert_close(method.eval().encoder(images()), theirs.eval()(images()))
    assert initial.description.startswith("Res12-pre.pth ")


FEAT_PIXELS = ([120.39586422, 115.59361427, 104.54012653], [70.68188272, 68.27635443, 72.54505529])


def test_what_is_no_checkpoint_of_feat_is_said(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weights": {}}, path)
    with pytest.raises(UserError, match=r"other\.pth does not hold .* in FEAT's layout: its keys are weights"):
        released_weights(path)
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"other\.pth cannot be read"):
        released_weights(path)
    assert "resnet12" in ENCODERS
