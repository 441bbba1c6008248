"""Embeddings of episodes, drawn at random around class centers, and their queries' labels."""

from __future__ import annotations

import torch
from torch import Tensor


def toy_episodes(
    way: int = 4, shot: int = 3, num_query: int = 2, dim: int = 6, batch: int = 3, seed: int = 0, spread: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Support (batch, way, shot, dim), query (batch, way * num_query, dim) in float64, labels (way * num_query,)."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(batch, way, 1, dim, generator=generator, dtype=torch.float64) + 0.5
    noise = torch.randn(batch, way, shot + num_query, dim, generator=generator, dtype=torch.float64)
    images = centers + spread * noise
    labels = torch.arange(way).repeat_interleave(num_query)
    return images[:, :, :shot], images[:, :, shot:].flatten(1, 2), labels
