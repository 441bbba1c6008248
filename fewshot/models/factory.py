"""From names and options, or from a checkpoint, to a method ready to use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fewshot.models.encoders.library import find_encoder
from fewshot.models.encoders.module import ModuleEncoder, as_encoder
from fewshot.models.encoders.resnet12 import released_weights
from fewshot.models.methods import METHODS, Method
from fewshot.models.options import OptionError, checked_options, options_of
from fewshot.models.tensor_files import CheckpointError, load_tensors


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """The encoder weights of a checkpoint, from which a training starts (``--init``)."""

    description: str  # the model it was trained as, and what names its weights
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainedMethod:
    """A method with its selected weights, and where they are kept."""

    method: Method
    checkpoint: Path
    metadata: dict[str, Any]


def build_method(
    model: str,
    model_options: Mapping[str, Any],
    encoder: str | nn.Module,
    encoder_options: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    seed: int,
    num_classes: int = 1,
) -> Method:
    """A fresh method; its initial weights depend on ``seed`` alone. Raises ValueError for an unknown name or option.

    ``encoder`` may be a network of the user's (see ``as_encoder``), which takes no options and keeps its weights.
    ``num_classes`` counts the training classes, for a method that trains on images and keeps something for each class.
    """
    method_class = METHODS.get(model)
    encoder_class = find_encoder(encoder) if isinstance(encoder, str) else ModuleEncoder
    what = f"encoder {encoder if isinstance(encoder, str) else type(encoder).__name__}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = checked_options(method_class, model_options, f"model {model}")
        of_encoder = checked_options(encoder_class, encoder_options, what)
        needs = method_class.encoder_needs(options)
        known = options_of(encoder_class)
        for name, value in needs.items():
            if name not in known or of_encoder.get(name, value) != value:
                raise OptionError(
                    f"model {model} needs --{name} {value} of its encoder: give {name} to the model alone, with "
                    f"--encoder {method_class.default_encoder}"
                )
        if isinstance(encoder, str):
            made = encoder_class(image_shape, **{**of_encoder, **needs})
        else:
            made = as_encoder(encoder, image_shape)
        if method_class.trains_on == "images":
            return cast(type[Any], method_class)(made, num_classes, **options)  # type: ignore[no-any-return]
        return method_class(made, **options)


def implementation_of(method: Method) -> dict[str, str]:
    """Which implementation of a method runs, as a record has it; empty where there is only one."""
    return {"implementation": method.implementation} if method.implementation else {}


def place(method: Method, device: torch.device) -> Method:
    """The method on its device, its convolutions laid out channels-last, which is faster on CPU and GPU alike."""
    return method.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_trained(checkpoint: Path, device: torch.device) -> TrainedMethod:
    """A method from its checkpoint. Raises CheckpointError when it is none of ours.

    Of a method that trains on images the encoder is enough: what its loss holds besides serves in training alone.
    """
    tensors, metadata = load_tensors(checkpoint)
    if wrong := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{checkpoint} holds NaN or infinite weights ({wrong[0]}): train again with --fresh")
    try:
        method = rebuilt(metadata, metadata["model"], metadata["model_options"])
        if method.trains_on == "images" and all(name.startswith("encoder.") for name in tensors):
            method.encoder.load_state_dict({name.removeprefix("encoder."): t for name, t in tensors.items()})
        else:
            method.load_state_dict(tensors)
        method.trained = True
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise _no_method(checkpoint) from error
    return TrainedMethod(place(method, device), checkpoint, metadata)


def initial_weights(checkpoint: Path) -> InitialWeights:
    """The encoder's weights of a checkpoint, or of a .pth file in FEAT's layout. Raises CheckpointError otherwise."""
    if checkpoint.suffix == ".pth":
        model, encoder = checkpoint.name, released_weights(checkpoint)
    else:
        tensors, metadata = read_trained(checkpoint)
        encoder = {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}
        if not encoder:
            raise _no_method(checkpoint)
        model = metadata["model"]
    sha = hashlib.sha256()
    for name in sorted(encoder):
        sha.update(name.encode() + encoder[name].numpy().tobytes())
    return InitialWeights(f"{model} {sha.hexdigest()[:12]}", encoder)


def start_from(method: Method, initial: InitialWeights) -> None:
    """Give the encoder these weights. Raises CheckpointError where they are those of another network."""
    try:
        method.encoder.load_state_dict(dict(initial.tensors))
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of --init ({initial.description}) are those of another encoder than this "
            f"{type(method.encoder).__name__}: choose the --encoder and its options as they were trained"
        ) from error


def read_trained(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of a checkpoint, and what it says of its training. Raises CheckpointError when it is none of ours."""
    tensors, metadata = load_tensors(checkpoint)
    if "image_shape" not in metadata:
        raise _no_method(checkpoint)
    return tensors, metadata


def rebuilt(metadata: Mapping[str, Any], model: str, model_options: Mapping[str, Any]) -> Method:
    """A fresh method for the images and with the encoder of a checkpoint, whose own ``model`` may be another."""
    encoder, shape = metadata["encoder"], tuple(metadata["image_shape"])
    options, num_classes = metadata["encoder_options"], metadata.get("num_classes", 1)
    return build_method(model, model_options, encoder, options, shape, metadata["seed"], num_classes)


def _no_method(checkpoint: Path) -> CheckpointError:
    return CheckpointError(f"{checkpoint} does not hold a trained method: pass a checkpoint.safetensors")
