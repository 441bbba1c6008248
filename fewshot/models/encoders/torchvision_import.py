"""Import torchvision also where its compiled operators do not fit the installed PyTorch.

On Linux the registries carry torchvision built for CUDA only. Beside a CPU build of PyTorch its compiled library cannot
be loaded, which torchvision itself tolerates; but it then describes the shapes of two operators of that library, and
PyTorch refuses to describe operators that nobody declared: ``operator torchvision::nms does not exist``. Declaring the
two (their signatures, no code behind them) lets the import go through. Everything that is written in Python works
then: transforms, models, data sets. Non-maximum suppression itself, which no part of this project needs, still
answers that it is not implemented.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def import_torchvision() -> ModuleType:
    """torchvision, imported at the first call (it takes a second or two), the same module at every later one.

    Nothing is declared where the plain import works. Raises ImportError when torchvision is not installed, RuntimeError
    when it fails for another reason than the undeclared operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", _SCHEMA)
    return importlib.import_module("torchvision")
