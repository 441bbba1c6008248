"""Strokes: characters that the program draws itself."""

from episodes.datasets.strokes.dataset import Strokes

__all__ = ["Strokes"]
