"""One file per method. A new file registers itself; nothing else needs to know."""

from episodes.registry import import_submodules
from fewshot.methods.base import METHODS, EpisodeImages, LabeledImages, Method

import_submodules(__name__, __path__)

__all__ = ["METHODS", "EpisodeImages", "LabeledImages", "Method"]
