"""Embeddings on a map: many dimensions as two, the same map each time."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from episodes.errors import UserError
from episodes.types import ImageSet, Rows

Places = tuple[tuple[int, int], ...]
"""Whole numbers from 0 to 1000, x and y of each embedding."""
MOST_IMAGES, MOST_CLASSES = 300, 20
_LEAST_IMAGES = 4
_PERPLEXITY = 30.0  # about how many neighbors count (van der Maaten and Hinton, 2008)
_EXACT = 600  # images of which every pair is looked at


def rows_of_map(image_set: ImageSet, most_images: int = MOST_IMAGES, seed: int = 0) -> Rows:
    """The images to be drawn: up to 20 classes, drawn by ``seed``, and as many of each as there is room for."""
    shuffled = np.random.default_rng(seed).permutation(image_set.num_classes)
    classes = np.sort(shuffled[np.isin(shuffled, np.flatnonzero(image_set.class_sizes))][:MOST_CLASSES])
    of_each = max(1, most_images // max(1, len(classes)))
    bounds = [(image_set.class_starts[number], image_set.class_sizes[number]) for number in classes]
    return np.concatenate([np.arange(start, start + min(size, of_each)) for start, size in bounds])


def tsne(embeddings: Float[Tensor, "n dim"], seed: int = 0) -> Places:
    """t-SNE (van der Maaten and Hinton, JMLR 2008), begun at the principal components: neighbors stay neighbors.

    Distances between groups and their sizes mean little. Raises UserError for fewer than four embeddings.
    """
    if len(embeddings) < _LEAST_IMAGES:
        raise UserError(f"a map is drawn of {_LEAST_IMAGES} images or more, not of {len(embeddings)}")
    from sklearn.manifold import TSNE

    flat = principal_plane(embeddings)[0]
    if not float(flat.abs().max()):  # every image at the same place
        return placed(flat)
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    method = "exact" if len(embeddings) <= _EXACT else "barnes_hut"
    begun = (1e-4 * flat / flat[:, 0].std()).float().numpy()
    found = TSNE(2, perplexity=perplexity, init=begun, random_state=seed, method=method)
    return placed(torch.from_numpy(found.fit_transform(embeddings.float().numpy())))


def project(embeddings: Float[Tensor, "n dim"]) -> tuple[Places, float]:
    """The first two principal components, and their share of the variance."""
    flat, share = principal_plane(embeddings)
    return placed(flat), share


def principal_plane(embeddings: Float[Tensor, "n dim"]) -> tuple[Float[Tensor, "n 2"], float]:
    """Each component points where its largest coordinate is positive: the same embeddings give the same picture."""
    centered = embeddings.double() - embeddings.double().mean(dim=0)
    left, sizes, _ = torch.linalg.svd(centered, full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    if flat.shape[1] < 2:  # embeddings of one number
        flat = torch.nn.functional.pad(flat, (0, 2 - flat.shape[1]))
    signs = flat.gather(0, flat.abs().argmax(dim=0, keepdim=True)).sign()
    share = float(sizes[:2].square().sum() / sizes.square().sum().clamp_min(1e-30))
    return flat * torch.where(signs == 0, 1.0, signs), round(share, 4)


def placed(flat: Float[Tensor, "n 2"]) -> Places:
    """Into a square from 0 to 1000, without a change of shape."""
    flat = flat.double()
    low, extent = flat.min(dim=0).values, (flat.max(dim=0).values - flat.min(dim=0).values).max().clamp_min(1e-30)
    middle = (flat.max(dim=0).values + low) / 2
    scaled = (500 + 1000 * (flat - middle) / extent).round().long()
    return tuple((int(x), int(y)) for x, y in scaled.tolist())
