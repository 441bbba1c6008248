"""Encoders by any name that torchvision or timm knows: their networks without the last linear layer."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float, Num
from torch import Tensor, nn

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape
from fewshot.models.encoders.module import found_dim
from fewshot.models.encoders.torchvision_import import import_torchvision


class LibraryEncoder(Encoder):
    """A network of a library with random weights, its classifier taken off; one channel is shown to it three times.

    No pretrained weights: ImageNet's classes are those that miniImageNet tests. Weights of your own come with --init.
    """

    make: ClassVar[Callable[[], nn.Module]]

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(image_shape)
        with warnings.catch_warnings():  # notices about initializations that are still to come
            warnings.simplefilter("ignore")
            self.network = without_classifier(type(self).make())
        self.feature_shape = (found_dim(self, self.forward),)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        features: Tensor = self.network(self.normalize(images).expand(-1, 3, -1, -1))
        return features.flatten(1)


def without_classifier(network: nn.Module) -> nn.Module:
    """The network with its last linear layer replaced by nothing; as it is where it ends in no such layer."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if linear:
        parent, _, child = linear[-1].rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    return network


@functools.cache
def find_encoder(name: str) -> type[Encoder]:
    """The encoder of that name: ours, else torchvision's classification network, else timm's.

    Raises UserError for a name that none of them knows, and says so where timm is not installed.
    """
    if name in ENCODERS:
        return ENCODERS.get(name)
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    known: list[str] = models.list_models(module=models)
    if name in known:
        return _library_encoder(name, "torchvision", lambda: _of_torchvision(models, name))
    absent = importlib.util.find_spec("timm") is None
    if not absent:
        timm = importlib.import_module("timm")
        if name in timm.list_models():
            return _library_encoder(name, "timm", lambda: timm.create_model(name, pretrained=False, num_classes=0))
    without_timm = "torchvision's (timm, which has more, is not installed: pip install timm)"
    libraries = without_timm if absent else "torchvision's and timm's"
    raise UserError(f"{unknown_name_message('encoder', name, ENCODERS)} Or any network of {libraries}.")


def _of_torchvision(models: object, name: str) -> nn.Module:
    more = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(name, weights=None, **more)  # type: ignore[attr-defined]
    return network


def _library_encoder(name: str, library: str, make: Callable[[], nn.Module]) -> type[Encoder]:
    described = {"title": f"{library}'s {name}, untrained, without its classifier", "__doc__": LibraryEncoder.__doc__}
    return type(name, (LibraryEncoder,), described | {"make": staticmethod(make)})
