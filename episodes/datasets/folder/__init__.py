"""The user's own images: a folder per class, or a CSV file."""

from episodes.datasets.folder.dataset import Folder

__all__ = ["Folder"]
