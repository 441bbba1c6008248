"""Encoders by any name that torchvision or timm knows: their networks without the last linear layer.

``resnet18`` sees images as they are; ``timm:resnet18`` and ``torchvision:resnet18`` see them as that library prepares
them for its weights, which then fit (``fewshot.models.encoders.pretrained``).
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape
from fewshot.models.encoders.module import found_dim
from fewshot.models.encoders.torchvision_import import import_torchvision


@dataclass(frozen=True)
class Preparation:
    """What a library does to an image before its network sees it: resized to ``side`` pixels, scaled, normalized."""

    side: int
    mean: Sequence[float]  # of each of three channels, for pixels scaled to 0..1
    std: Sequence[float]


class LibraryEncoder(Encoder):
    """A network of a library, its classifier taken off; one channel is shown to it three times.

    Its weights are random: ImageNet's classes are those that miniImageNet tests. Weights of your own come with --init,
    and for ``timm:NAME`` and ``torchvision:NAME`` with --weights; these resize and normalize images as the library does
    (``prepared``).
    """

    make: ClassVar[Callable[[], nn.Module]]
    prepared: ClassVar[Preparation | None] = None
    classifier: ClassVar[tuple[str, ...]] = ()  # what the names of the classifier's weights begin with

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(image_shape)
        if self.prepared is not None:
            self.mean = torch.tensor([*self.prepared.mean]).view(1, -1, 1, 1)
            self.std = torch.tensor([*self.prepared.std]).view(1, -1, 1, 1)
        with warnings.catch_warnings():  # notices about initializations that are still to come
            warnings.simplefilter("ignore")
            self.network = type(self).make()
        self.feature_shape = (found_dim(self, self.forward),)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        pixels = self.normalize(images).expand(-1, 3, -1, -1)
        if self.prepared is not None and pixels.shape[-2:] != (self.prepared.side, self.prepared.side):
            side = self.prepared.side
            pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        features: Tensor = self.network(pixels)
        return features.flatten(1)


def last_linear(network: nn.Module) -> str:
    """The name of the last linear layer of a network; empty where there is none."""
    return next((name for name, module in reversed([*network.named_modules()]) if isinstance(module, nn.Linear)), "")


def without_classifier(network: nn.Module) -> nn.Module:
    """The network with its last linear layer replaced by nothing; as it is where it ends in no such layer."""
    if name := last_linear(network):
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    return network


@functools.cache
def find_encoder(name: str) -> type[Encoder]:
    """The encoder of that name: ours, else torchvision's classification network, else timm's.

    ``timm:NAME`` and ``torchvision:NAME`` say whose it is. Raises UserError for a name that none of them knows, and
    says so where timm is not installed.
    """
    if name in ENCODERS:
        return ENCODERS.get(name)
    library, said, network = name.rpartition(":")
    if said and library not in ("timm", "torchvision"):
        raise UserError(f"--encoder {name}: before the colon stands timm or torchvision, whose network it is")
    models = torchvision_models()
    known: list[str] = models.list_models(module=models)
    if library != "timm" and network in known:
        return _of_torchvision(models, name, network)
    absent = importlib.util.find_spec("timm") is None
    if library == "timm" or not (said or absent):
        timm = import_timm()
        if timm.is_model(network):
            return _of_timm(timm, name, network)
        known = timm.list_models()
    if said:
        near = sorted({f"{library}:{other}" for other in difflib.get_close_matches(network, known, n=5, cutoff=0.4)})
        raise UserError(unknown_name_message("encoder", name, near))
    without_timm = "torchvision's (timm, which has more, is not installed: pip install timm)"
    libraries = without_timm if absent else "torchvision's and timm's"
    raise UserError(f"{unknown_name_message('encoder', name, ENCODERS)} Or any network of {libraries}.")


def import_timm() -> ModuleType:
    """timm. Raises UserError where it is not installed."""
    import_torchvision()  # which it imports, too
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UserError("timm is not installed: pip install 'fewshot-bench[photos]'") from error


def torchvision_models() -> ModuleType:
    """torchvision.models."""
    import_torchvision()
    return importlib.import_module("torchvision.models")


def _of_torchvision(models: ModuleType, name: str, network: str) -> type[Encoder]:
    more = {"aux_logits": False, "init_weights": True} if network in ("googlenet", "inception_v3") else {}

    def make() -> nn.Module:
        return without_classifier(models.get_model(network, weights=None, **more))

    if name == network:
        return _library_encoder(name, "torchvision", make)
    as_trained = models.get_model_weights(network).DEFAULT.transforms()
    with torch.device("meta"):
        classifier = last_linear(models.get_model(network, weights=None, **more))
    prepared = Preparation(as_trained.crop_size[0], as_trained.mean, as_trained.std)
    return _library_encoder(name, "torchvision", make, prepared, (classifier,) if classifier else ())


def _of_timm(timm: ModuleType, name: str, network: str) -> type[Encoder]:
    def make() -> nn.Module:
        made: nn.Module = timm.create_model(network, pretrained=False, num_classes=0)
        return made

    if name == network:
        return _library_encoder(name, "timm", make)
    about = timm.get_pretrained_cfg(network)
    classifier = about.classifier if isinstance(about.classifier, tuple) else (about.classifier or (),)
    prepared = Preparation(about.input_size[-1], about.mean, about.std)
    return _library_encoder(name, "timm", make, prepared, classifier)


def _library_encoder(
    name: str,
    library: str,
    make: Callable[[], nn.Module],
    prepared: Preparation | None = None,
    classifier: tuple[str, ...] = (),
) -> type[Encoder]:
    weights = "untrained" if prepared is None else "untrained unless there are --weights"
    title = f"{library}'s {name.rpartition(':')[2]}, {weights}, without its classifier"
    described = {"title": title, "__doc__": LibraryEncoder.__doc__, "make": staticmethod(make)}
    return type(name, (LibraryEncoder,), described | {"prepared": prepared, "classifier": classifier})
