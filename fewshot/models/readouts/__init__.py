"""How frozen embeddings are classified: one file per idea. A new file registers itself."""

from episodes.registry import import_submodules
from fewshot.models.readouts.base import READOUTS, Readout

import_submodules(__name__, __path__)

__all__ = ["READOUTS", "Readout", "centering_readouts"]


def centering_readouts() -> list[str]:
    """Names of the read-outs that center on training images."""
    return [name for name in READOUTS if READOUTS.get(name).needs_train_mean]
