"""Omniglot (Lake et al. 2015)."""

from episodes.datasets.omniglot.dataset import Omniglot

__all__ = ["Omniglot"]
