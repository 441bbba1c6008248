"""One file per loss. A new file registers itself and a model of the same name (models.methods.loss_trained)."""

from episodes.registry import import_submodules
from fewshot.models.losses.base import LOSSES, Loss

import_submodules(__name__, __path__)

__all__ = ["LOSSES", "Loss"]
