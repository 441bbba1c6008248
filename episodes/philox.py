"""Philox4x32-10, a counter-based random generator, on whole arrays.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: every output is a function of
(key, counter) alone, so any draw can be made anywhere, in any order, with no state to carry. Integer arithmetic only:
the same numbers on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Four random 32-bit words for each counter: (..., 4) uint32 -> (..., 4) uint32."""
    word0, word1, word2, word3 = (counter[..., word].astype(np.uint64) for word in range(4))
    key0, key1 = key
    for _ in range(_ROUNDS):
        product0, product1 = word0 * _MULTIPLIERS[0], word2 * _MULTIPLIERS[1]
        word0 = (product1 >> _HALF) ^ word1 ^ np.uint64(key0)
        word2 = (product0 >> _HALF) ^ word3 ^ np.uint64(key1)
        word1, word3 = product1 & _LOW, product0 & _LOW
        key0, key1 = (key0 + _WEYL[0]) & 0xFFFFFFFF, (key1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack((word0, word1, word2, word3), axis=-1).astype(np.uint32)


def random_words(seed: int, stream: int, indices: npt.NDArray[np.int64], num_words: int) -> Words:
    """``num_words`` random words for each index, (len(indices), num_words) uint32.

    Row i depends on (seed, stream, indices[i]) alone; ``stream`` keeps apart the purposes that share a seed.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"a seed is a whole number from 0 to 2**64 - 1, not {seed}")
    if (indices < 0).any():
        raise ValueError(f"indices count from 0, not from {indices.min()}")
    num_blocks = -(-num_words // 4)
    counter = np.empty((len(indices), num_blocks, 4), np.uint32)
    counter[..., 0] = np.arange(num_blocks, dtype=np.uint32)
    counter[..., 1] = stream
    counter[..., 2] = (indices & 0xFFFFFFFF)[:, None]
    counter[..., 3] = (indices >> 32)[:, None]
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return words.reshape(len(indices), 4 * num_blocks)[:, :num_words]
