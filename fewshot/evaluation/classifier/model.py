"""A fitted classifier as one module, from uint8 images to probabilities, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize

from episodes.datasets.folder.dataset import Folder
from episodes.errors import UserError
from episodes.types import ImageSet
from fewshot.evaluation.classifier.fitting import Fitted, fit
from fewshot.evaluation.classifier.heads import Head
from fewshot.evaluation.classifier.threshold import Threshold, threshold_for_new
from fewshot.evaluation.evaluate import embed_all, refuse_not_finite
from fewshot.models.encoders import Encoder
from fewshot.models.encoders.library import find_encoder
from fewshot.models.encoders.pretrained import find_weights, load_weights, own_side
from fewshot.models.factory import load_trained
from fewshot.models.hardware import choose_device
from fewshot.models.methods.pretrained import Pretrained
from fewshot.models.tensor_files import CheckpointError, load_tensors, save_tensors
from fewshot.progress import Reporter

KIND = "classifier"
DEFAULT_SIDE = 84  # of images for an encoder that takes them as they come


@dataclass(frozen=True, eq=False)
class NamedEncoder:
    """An encoder, and what is needed to build it again before its weights are loaded."""

    encoder: Encoder
    about: Mapping[str, Any]

    def embed(self, images: UInt8[Tensor, "n c h w"], reporter: Reporter | None = None) -> Float[Tensor, "n dim"]:
        """The embeddings of images, on the processor."""
        progress = (reporter or Reporter()).test_progress
        table = embed_all(Pretrained(self.encoder), images, "fp32", progress).cpu()
        refuse_not_finite(table)
        return table.clone()  # made in inference mode, where nothing may be added in place


def named_encoder(name: str, weights: Path | None = None, trained_on: str | None = None) -> NamedEncoder:
    """``lite0``, ``timm:NAME`` or ``torchvision:NAME`` with a file of weights, or a checkpoint of `fewshot run`.

    Raises UserError for an encoder without trained weights.
    """
    if Path(name).suffix == ".safetensors":
        if weights is not None or trained_on is not None:
            raise UserError("a checkpoint has its weights: leave out --weights and --encoder-data")
        trained = load_trained(Path(name), choose_device())
        known = ("encoder", "encoder_options", "image_shape", "pretrained")
        about = {part: trained.metadata[part] for part in known if part in trained.metadata}
        return NamedEncoder(trained.method.encoder, about)
    found = find_weights(name, weights, trained_on)
    if found is None:
        raise UserError(f"encoder {name} has random weights: use lite0, --weights FILE, or a checkpoint.safetensors")
    side = own_side(find_encoder(name)) or DEFAULT_SIDE
    encoder = find_encoder(name)((3, side, side))
    load_weights(encoder, found)
    about = {"encoder": name, "encoder_options": {}, "image_shape": [3, side, side], "pretrained": found.description}
    return NamedEncoder(encoder.to(choose_device()), about)


class PhotoClassifier(nn.Module):
    """uint8 images (n, channels, height, width) -> probabilities (n, classes), and how well each is known (n,)."""

    weights: Tensor
    bias: Tensor
    temperature: Tensor
    means: Tensor

    def __init__(self, encoder: Encoder, unit_length: bool, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder, self.unit_length, self.class_names = encoder, unit_length, class_names
        way, dim = len(class_names), encoder.dim
        for name, shape in (("weights", (way, dim)), ("bias", (way,)), ("temperature", ()), ("means", (way, dim))):
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n way"], Float[Tensor, " n"]]:
        rows = self.encoder(images)
        head = Head(self.weights, self.bias, self.unit_length)
        return (head.scores(rows) / self.temperature).softmax(-1), (normalize(rows) @ self.means.T).amax(-1)


@dataclass(frozen=True, eq=False)
class SavedClassifier:
    """A classifier and what its file says of it."""

    network: PhotoClassifier
    about: Mapping[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return self.network.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self.network.encoder.image_shape

    def predict(self, images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n way"], Float[Tensor, " n"]]:
        """Probabilities and how well each image is known, on the processor."""
        device = self.network.encoder.mean.device
        with torch.inference_mode():
            probabilities, known = self.network.eval()(images.to(device))
        return probabilities.cpu(), known.cpu()

    def threshold(self, share: float) -> Threshold:
        """What rejects at most this share of the images of known classes, as those were that were held out of the fit.

        Raises UserError where none were, or too few for so small a share.
        """
        known = self.about["known"]
        if not len(known):
            raise UserError("a class had a single image, so none was held out to set a threshold: leave out --reject")
        return threshold_for_new(known, self.about.get("unknown", ()), share)


def photos_of(path: Path, image_shape: tuple[int, int, int], reporter: Reporter | None = None) -> ImageSet:
    """The images of a folder of class folders, or of a CSV file, in the shape that an encoder takes."""
    channels, side, _ = image_shape
    if not path.exists():
        raise UserError(f"there is no folder or CSV file {path}")
    reporter = reporter or Reporter()
    folder = Folder(path, "test-only", image_size=side, channels=channels)
    photos = folder.load("test", reporter.data_progress)
    if odd := folder.oddities():
        reporter.say(odd)
    return photos


def fit_photos(
    encoder: NamedEncoder, photos: ImageSet, readout: str, reporter: Reporter | None = None
) -> tuple[SavedClassifier, Fitted]:
    """Fit a classifier to labeled images."""
    fitted = fit(encoder.embed(photos.images, reporter), photos.class_ids, photos.num_classes, readout)
    return classifier_of(encoder, fitted, photos.class_names, readout), fitted


def classifier_of(encoder: NamedEncoder, fitted: Fitted, class_names: tuple[str, ...], readout: str) -> SavedClassifier:
    """What was fitted to embeddings, behind the encoder that made them."""
    network = PhotoClassifier(encoder.encoder, fitted.head.unit_length, class_names)
    parts = {"weights": fitted.head.weights, "bias": fitted.head.bias, "means": fitted.means}
    for name, value in (parts | {"temperature": torch.tensor(fitted.temperature)}).items():
        getattr(network, name).copy_(value)
    expected = fitted.expected
    about = {
        "kind": KIND,
        "readout": readout,
        "unit_length": fitted.head.unit_length,
        "classes": list(class_names),
        "known": [] if expected is None else expected.known.tolist(),
        "unknown": [] if expected is None else expected.unknown.tolist(),
        "expected_accuracy": None if expected is None else expected.accuracy,
    }
    return SavedClassifier(network.to(encoder.encoder.mean.device), {**encoder.about, **about})


def save_classifier(classifier: SavedClassifier, path: Path) -> None:
    """Write everything that a prediction needs into one file. Raises CheckpointError where it cannot be written."""
    save_tensors(path, classifier.network.state_dict(), classifier.about)


def load_classifier(path: Path) -> SavedClassifier:
    """What `fewshot fit` wrote. Raises CheckpointError for anything else."""
    advice = f"{path} is no classifier: `fewshot fit PHOTOS -o {path.name}` writes one"
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}: `fewshot fit PHOTOS -o {path.name}` writes one")
    tensors, about = load_tensors(path)
    if about.get("kind") != KIND:
        raise CheckpointError(advice)
    try:
        encoder = find_encoder(about["encoder"])(tuple(about["image_shape"]), **about["encoder_options"])
        network = PhotoClassifier(encoder, about["unit_length"], tuple(about["classes"]))
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(advice) from error
    return SavedClassifier(network.to(choose_device()), about)
