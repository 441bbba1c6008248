"""Omniglot (Lake et al. 2015)."""
