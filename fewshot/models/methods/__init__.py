"""One file per method. A new file registers itself; nothing else needs to know."""

from episodes.registry import import_submodules
from fewshot.models.methods.base import METHODS, Method

import_submodules(__name__, __path__)

__all__ = ["METHODS", "Method"]
