"""Embeddings of classes of any size."""

from __future__ import annotations

import torch
from torch import Tensor


def embeddings(sizes: list[int], dim: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of classes of these sizes, in no order, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = torch.randn(len(sizes), dim, generator=generator)
    rows = 3 + centers[labels] + torch.randn(len(labels), dim, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    return rows[order], labels[order]
