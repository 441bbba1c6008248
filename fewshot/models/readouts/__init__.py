"""How frozen embeddings are classified: one file per idea. A new file registers itself."""

from episodes.registry import import_submodules
from fewshot.models.readouts.base import READOUTS, Readout

import_submodules(__name__, __path__)

__all__ = ["READOUTS", "Readout"]
