"""What an episode draws, as whole numbers: needs no images and no torch, so that tables can name an episode's classes.

Every draw is a function of (seed, stream, index): see episodes.philox.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from episodes.philox import Words, random_words

CLASSES, IMAGES, QUERY_ORDER, UNLABELED_ORDER, POOLS, SHUFFLE, AUGMENT, SHARES = range(8)  # streams of random_words

_Numbers = npt.NDArray[np.int64]


def below(words: Words, limits: _Numbers) -> _Numbers:
    """Random whole numbers in [0, limit) from 32-bit words; the bias is below limit / 2**32."""
    return ((words.astype(np.uint64) * limits.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def draw_distinct(words: Words, sizes: _Numbers | int, count: int) -> _Numbers:
    """``count`` distinct numbers in [0, size) in random order, a row for each row of ``words`` (rows, 2 * count).

    Floyd's algorithm (Bentley and Floyd 1987): the cost grows with what is drawn, not with what it is drawn from.
    The set it finds is uniform and its order is not, so the second half of the words puts it into random order.
    """
    drawn = np.empty((len(words), count), np.int64)
    limits = np.atleast_1d(np.asarray(sizes, np.int64))  # (1,) or (rows,)
    for step in range(count):
        last = limits - count + step
        candidate = below(words[:, step], last + 1)
        taken = (drawn[:, :step] == candidate[:, None]).any(axis=1)
        drawn[:, step] = np.where(taken, last, candidate)
    order = words[:, count:].argsort(axis=1, kind="stable")
    return np.take_along_axis(drawn, order, axis=1)


def dirichlet_counts(seed: int, indices: _Numbers, way: int, total: int, concentration: int) -> _Numbers:
    """How many of ``total`` queries each class of these episodes has, (len(indices), way); a class may have none.

    The shares are of a symmetric Dirichlet distribution: every ``concentration``-th of ``way * concentration - 1``
    sorted random numbers cuts the interval from 0 to 1 (Devroye 1986, chapter V, theorem 2.1). They are rounded by the
    largest remainders, as in the code of Veilleux et al. (2021). Whole numbers only: the same on every machine.
    """
    words = random_words(seed, SHARES, indices, way * concentration - 1)
    cuts = np.sort(words, axis=1)[:, concentration - 1 :: concentration].astype(np.int64)
    shares = np.diff(cuts, axis=1, prepend=0, append=2**32) * total  # of total * 2**32
    counts, rest = shares >> 32, shares & (2**32 - 1)
    missing = total - counts.sum(axis=1, keepdims=True)
    rank = (-rest).argsort(axis=1, kind="stable").argsort(axis=1)
    found: _Numbers = counts + (rank < missing)
    return found


def episode_classes(seed: int, indices: _Numbers, num_classes: int, num_drawn: int) -> _Numbers:
    """The class ids of these episodes, (len(indices), num_drawn): the classes of the way axis, then the distractors."""
    return draw_distinct(random_words(seed, CLASSES, indices, 2 * num_drawn), num_classes, num_drawn)
