"""One file per loss. A new file registers itself, and with it a model of the same name (fewshot.methods.metric)."""

from episodes.registry import import_submodules
from fewshot.losses.base import LOSSES, Loss

import_submodules(__name__, __path__)

__all__ = ["LOSSES", "Loss"]
