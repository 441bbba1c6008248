"""A classifier as one ONNX file, which runs without PyTorch and without this program."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.evaluation.classifier.model import SavedClassifier


def export_onnx(classifier: SavedClassifier, path: Path) -> None:
    """Write size, normalization, encoder, classifier and class names into one file.

    Input ``images``: uint8 (n, channels, side, side), center-cropped to a square and resized. Outputs:
    ``probabilities`` (n, classes) and ``known`` (n,), the cosine to the nearest class mean. The metadata hold
    ``classes`` (a JSON list), ``image_size``, ``preparation`` and ``threshold``: at most 5 of 100 images of known
    classes have a ``known`` below it (empty where too few were held out to set one). Raises UserError where the
    packages are not installed.
    """
    try:
        onnx = importlib.import_module("onnx")
        importlib.import_module("onnxscript")
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'fewshot-bench[photos]'") from error
    network = classifier.network.eval().cpu()
    example = torch.zeros(2, *classifier.image_shape, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), _out_of_place(network):
        warnings.simplefilter("ignore")  # what PyTorch tells itself of deprecations
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["images"],
            output_names=["probabilities", "known"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    channels, side, _ = classifier.image_shape
    about = {
        "classes": json.dumps(list(classifier.class_names), ensure_ascii=False),
        "image_size": str(side),
        "preparation": f"center crop to a square, bilinear resize to {side} x {side}, {channels} channels, uint8",
        "threshold": _threshold(classifier),
    }
    onnx.helper.set_model_props(model, about)
    try:
        write_atomically(path, model.SerializeToString())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _out_of_place(network: nn.Module) -> Iterator[None]:
    """Activations make tensors of their own meanwhile.

    PyTorch takes those that write in place apart, step by step. The file has the same operations for it, and an export
    took half as long again.
    """
    found: list[Any] = [module for module in network.modules() if getattr(module, "inplace", False)]
    for module in found:
        module.inplace = False
    try:
        yield
    finally:
        for module in found:
            module.inplace = True


def _threshold(classifier: SavedClassifier) -> str:
    try:
        return str(classifier.threshold(0.05).least)
    except UserError:
        return ""
