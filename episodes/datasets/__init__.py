"""One file per data set. A new file registers itself; nothing else needs to know."""

from episodes.datasets.base import DATASETS, Dataset
from episodes.registry import import_submodules

import_submodules(__name__, __path__)

__all__ = ["DATASETS", "Dataset"]
