"""Any network that maps images to vectors is an encoder; what maps them to something else is refused in one line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.encoders import Conv4, as_encoder
from fewshot.models.factory import build_method
from toy_classes import COLOR, GRAY, toy_batch, toy_set


class Seen(nn.Module):
    """Remembers what it was shown; gives 3 numbers for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.images = torch.empty(0)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        found: Tensor = self.norm(images.flatten(1)[:, :3])
        return found


def small(channels: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_the_length_of_the_embedding_is_found_by_trying_which_changes_nothing() -> None:
    module = nn.Sequential(small(), nn.BatchNorm1d(5).eval())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    encoder = as_encoder(module, GRAY)
    assert (encoder.dim, encoder.feature_shape) == (5, (5,))
    assert encoder(toy_set(2, 2).images).shape == (4, 5)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert [part.training for part in module] == [True, False]


def test_images_are_scaled_and_normalized_as_said() -> None:
    images = torch.full((2, *COLOR), 51, dtype=torch.uint8)
    module = Seen()
    as_encoder(module, COLOR, mean=(0.1, 0.2, 0.3), std=(0.5, 1, 2))(images)
    torch.testing.assert_close(module.images[0, :, 0, 0], torch.tensor([0.2, 0.0, -0.05]))
    as_encoder(module, COLOR, std=(2, 2, 2))(images)
    torch.testing.assert_close(module.images[0, :, 0, 0], torch.tensor([0.1, 0.1, 0.1]))
    as_encoder(module, COLOR)(images)
    torch.testing.assert_close(module.images[0, 0, 0, 0], torch.tensor((0.2 - 0.485) / 0.229))
    with pytest.raises(UserError, match="mean and std take 1 numbers each"):
        as_encoder(module, GRAY, mean=(0.1, 0.2))


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (nn.Conv2d(1, 4, 3), r"one vector .* this one \(2, 4, 26, 26\) .*flatten or pool its maps"),
        (small(channels=3), "does not work on images of 28x28x1: .*channels"),
        (nn.Sequential(small(), nn.RNN(5, 2)), "this one a tuple: wrap it"),
        (nn.Flatten(0), r"this one \(1568,\)"),
    ],
)
def test_what_gives_no_vectors_is_refused(module: nn.Module, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        as_encoder(module, GRAY)
    assert "\n" not in str(error.value)


def test_an_encoder_of_ours_stays_what_it_is() -> None:
    encoder = Conv4(GRAY, width=4)
    assert as_encoder(encoder, GRAY) is encoder
    with pytest.raises(UserError, match="made for images of"):
        as_encoder(encoder, COLOR)


@pytest.mark.parametrize("model", ["proto", "maml", "triplet", "siamese", "matching"])
def test_methods_are_trained_and_tested_on_it(model: str) -> None:
    method = build_method(
        model,
        {},
        nn.Sequential(small(), nn.Unflatten(1, (5, 1, 1)), nn.BatchNorm2d(5), nn.Flatten()),
        {},
        GRAY,
        seed=0,
        num_classes=8,
    )
    loss = method.train().loss(toy_batch(EpisodeSpec(3, 2, 2), 2))
    torch.autograd.backward(loss)
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in method.encoder.parameters())
    method.trained = True
    assert len(evaluate(method, EpisodeSampler(toy_set(), EpisodeSpec(4, 1, 3), 0), 5).correct) == 5


def test_it_takes_no_options_and_serves_no_method_that_needs_another_encoder() -> None:
    with pytest.raises(UserError, match="encoder Sequential has no options, so --width"):
        build_method("proto", {}, small(), {"width": 3}, GRAY, 0)
    with pytest.raises(UserError, match="choose --encoder relation"):
        build_method("relation", {}, small(), {}, GRAY, 0)
    with pytest.raises(UserError, match="needs --covariance"):
        build_method("gaussian-proto", {}, small(), {}, GRAY, 0)
