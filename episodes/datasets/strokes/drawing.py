"""Draws handwriting-like characters: curved strokes by class, motor noise by drawer, ink by distance to the pen's path.

The same bytes on every machine: all randomness is Philox (integers), all else is + - * / and the square root, which
IEEE 754 defines to the last bit, one elementwise operation at a time. So there is no sine, no matrix product and no
sum whose order the library could choose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from episodes.philox import Words, random_words

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

SIZE = 28
MAX_STROKES = 4
NUM_KNOTS = 8  # control points of a stroke
_NUM_JOINTS = NUM_KNOTS - 2  # where the pen's direction may turn
_CHARACTER, _DRAWER, _DRAWING = range(3)  # streams of random_words

# How a stroke turns at its joints, times an amount (the tangent of half an angle) from the range of its kind.
_TURNS = np.array(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # line, slightly bent
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # arc
        [1.0, 1.0, 0.5, -0.5, -1.0, -1.0],  # wave
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0],  # hook
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],  # corner
        [0.0, 1.0, 0.0, 0.0, -1.0, 0.0],  # zigzag
        [0.8, 0.9, 1.0, 1.0, 1.1, 1.2],  # loop
    ]
)
_LINE, _WAVE, _LOOP = 0, 2, 6
_LEAST_TURN = np.array([-0.06, 0.10, 0.20, 0.30, 0.70, 0.80, 0.42])
_MOST_TURN = np.array([0.06, 0.36, 0.45, 0.60, 1.60, 1.60, 0.60])
_KIND_SHARES = (0.28, 0.22, 0.10, 0.12, 0.12, 0.06, 0.10)
_COUNT_SHARES = (0.10, 0.38, 0.36, 0.16)  # characters of 1, 2, 3, 4 strokes
_HALF_ROOT = np.sqrt(0.5)
_DIRECTIONS = np.array(
    [[0.0, 1.0], [1.0, 0.0], [_HALF_ROOT, _HALF_ROOT], [-_HALF_ROOT, _HALF_ROOT], [0.0, 1.0], [1.0, 0.0]]
)  # (x, y) with y downward: people draw down and to the right

_CHARACTER_SIZE = 17.0  # pixels of the longer side
_BORDER = 1.5  # pixels between the edge of the paper and the pen's path
_SEGMENTS_PER_SPAN = 2
_MARGIN = 8  # ink outside the paper lands here and is cut off
_REACH = 3  # a piece of a stroke inks at most this many pixels to each side of the pixel under its middle


def _uniform(words: Words, low: float = 0.0, high: float = 1.0) -> Floats:
    return low + (high - low) * (words / 4294967296.0)


def _bell(words: Words) -> Floats:
    """Nearly normal numbers, mean 0, variance 1, at most 3.5: the sum of a word's four bytes, shifted and scaled."""
    total: Words = (words & 255) + (words >> 8 & 255) + (words >> 16 & 255) + (words >> 24)
    return (total.astype(np.float64) - 510.0) / 147.8


def _choose(words: Words, shares: tuple[float, ...]) -> Integers:
    """Indices drawn with the given shares, which sum to 1."""
    share, chosen = _uniform(words), np.zeros(words.shape, np.int64)
    bound = 0.0
    for part in shares[:-1]:
        bound += part
        chosen += share >= bound
    return chosen


def _turned(vectors: Floats, half_tangents: Floats) -> Floats:
    """Unit vectors (..., 2) turned by angles that are given as the tangent of their half: no sine needed."""
    square = half_tangents * half_tangents
    cosine, sine = (1.0 - square) / (1.0 + square), 2.0 * half_tangents / (1.0 + square)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack((x * cosine - y * sine, x * sine + y * cosine), axis=-1)


@dataclass(frozen=True)
class Characters:
    """What the classes look like before anybody draws them; pixels, the character's center at (0, 0)."""

    knots: Floats  # (num_classes, MAX_STROKES, NUM_KNOTS, 2), control points as (x, y)
    drawn: Flags  # (num_classes, MAX_STROKES), which of the strokes there are: the first 1 to 4


def characters(seed: int, classes: Integers) -> Characters:
    """The characters of these classes; each is a function of (seed, class) alone."""
    words = random_words(seed, _CHARACTER, classes, 4 + 20 * MAX_STROKES)
    num_strokes = 1 + _choose(words[:, 0], _COUNT_SHARES)
    strokes = words[:, 4:].reshape(len(classes), MAX_STROKES, 20)
    shapes = _stroke_shapes(strokes, curved=num_strokes == 1)
    knots = np.empty_like(shapes)
    for stroke in range(MAX_STROKES):
        start = _stroke_start(strokes[:, stroke], shapes[:, stroke], knots[:, :stroke])
        knots[:, stroke] = shapes[:, stroke] + start[:, None]
    drawn = np.arange(MAX_STROKES) < num_strokes[:, None]
    return Characters(_fitted(knots, drawn), drawn)


def _stroke_shapes(words: Words, curved: Flags) -> Floats:
    """Strokes that begin at (0, 0): (num_classes, strokes, NUM_KNOTS, 2). A lone line is no character: ``curved``."""
    kind = _choose(words[..., 0], _KIND_SHARES)
    kind = np.where(curved[:, None] & (kind == _LINE), _WAVE, kind)
    amount = _uniform(words[..., 1])
    amount = _LEAST_TURN[kind] + (_MOST_TURN[kind] - _LEAST_TURN[kind]) * amount
    amount = np.where(words[..., 2] & 1, amount, -amount)
    heading = _DIRECTIONS[words[..., 3] % len(_DIRECTIONS)]
    heading = _turned(heading, 0.12 * _bell(words[..., 4]))
    length = _uniform(words[..., 5], 0.45, 1.0) * np.where(kind == _LOOP, 1.6, 1.0)
    step = (length / (NUM_KNOTS - 1))[..., None]
    knots = np.zeros((*kind.shape, NUM_KNOTS, 2))
    knots[..., 1, :] = heading * step
    for joint in range(_NUM_JOINTS):
        heading = _turned(heading, amount * _TURNS[kind, joint] + 0.05 * _bell(words[..., 6 + joint]))
        knots[..., joint + 2, :] = knots[..., joint + 1, :] + heading * step
    return knots


def _stroke_start(words: Words, shape: Floats, before: Floats) -> Floats:
    """Where strokes begin, (num_classes, 2): at, across or apart from a stroke drawn before."""
    free = np.stack((_uniform(words[:, 12], -0.35, 0.35), _uniform(words[:, 13], -0.35, 0.35)), axis=-1)
    free = free - 0.5 * shape[:, -1]
    num_before = before.shape[1]
    if num_before == 0:
        return free
    rows = np.arange(len(words))
    anchor = before[rows, words[:, 14] % num_before, words[:, 15] % NUM_KNOTS]
    own = np.where((words[:, 16] & 1)[:, None], shape[:, 0], shape[:, NUM_KNOTS // 2])
    return np.where((_uniform(words[:, 17]) < 0.7)[:, None], anchor - own, free)


def _fitted(knots: Floats, drawn: Flags) -> Floats:
    """Characters scaled to one size and moved to the center; what is not ``drawn`` does not count."""
    low, high = _corners(knots, drawn)
    extent: Floats = np.maximum(high - low, 1e-3)
    longer: Floats = extent.max(axis=-1, keepdims=True)
    widened: Floats = np.maximum(extent, np.minimum(2.0 * extent, 0.5 * longer))  # a narrow character gets less narrow
    return (knots - 0.5 * (low + high)) * (_CHARACTER_SIZE / longer) * (widened / extent)


def _corners(knots: Floats, drawn: Flags) -> tuple[Floats, Floats]:
    """The upper left and the lower right corner of what is ``drawn``: (n, 1, 1, 2) each."""
    shown = drawn[..., None, None]
    low: Floats = np.where(shown, knots, np.inf).min(axis=(1, 2), keepdims=True)
    high: Floats = np.where(shown, knots, -np.inf).max(axis=(1, 2), keepdims=True)
    return low, high


@dataclass(frozen=True)
class _Hand:
    """How images are drawn: an affine map of the character, the size of the tremor, the pen. All (num_images,)."""

    xx: Floats
    xy: Floats
    yx: Floats
    yy: Floats
    shift_x: Floats
    shift_y: Floats
    roundness: Floats
    tremor: Floats
    radius: Floats


def _hands(seed: int, drawers: Integers, words: Words) -> _Hand:
    """The drawers' habits, (seed, drawer), and on top of them this drawing's own deviation, ``words`` (n, 8)."""
    habit, fresh = random_words(seed, _DRAWER, drawers, 12), _bell(words)
    size = 1.0 + 0.08 * _bell(habit[:, 0]) + 0.05 * fresh[:, 0]
    stretch = 1.0 + 0.09 * _bell(habit[:, 1]) + 0.05 * fresh[:, 1]
    slant = 0.17 * _bell(habit[:, 2]) + 0.07 * fresh[:, 2]
    tilt = 0.10 * _bell(habit[:, 3]) + 0.08 * fresh[:, 3]
    wide, high = size * stretch, size / stretch
    return _Hand(
        wide,
        -slant * high,
        tilt * wide,
        high,
        _bell(habit[:, 4]) + 0.8 * fresh[:, 4],
        _bell(habit[:, 5]) + 0.8 * fresh[:, 5],
        _uniform(habit[:, 6], 0.85, 1.2),
        _uniform(habit[:, 7], 0.6, 1.4),
        _uniform(habit[:, 8], 0.65, 1.25) + 0.05 * fresh[:, 6],
    )


def draw(seed: int, classes: Integers, drawers: Integers) -> Pixels:
    """Draw one image per (class, drawer) pair: int64 (n,), (n,) -> uint8 (n, 28, 28), ink 255 on paper 0.

    An image is a function of (seed, class, drawer) alone, whatever else is drawn with it.
    """
    distinct, index = np.unique(classes, return_inverse=True)
    shapes = characters(seed, distinct)
    words = random_words(seed, _DRAWING, classes << 32 | drawers, 8 + 20 * MAX_STROKES)
    hand = _hands(seed, drawers, words[:, :8])
    knots = _written(shapes.knots[index], hand, words[:, 8:].reshape(-1, MAX_STROKES, 20))
    drawn = shapes.drawn[index]
    return _inked(_paths(_kept_on_paper(knots, drawn)), drawn, hand.radius)


def _written(knots: Floats, hand: _Hand, words: Words) -> Floats:
    """The control points as this hand sets them, in pixels of the paper: (n, MAX_STROKES, NUM_KNOTS, 2)."""
    chord = knots[:, :, :1] + (knots[:, :, -1:] - knots[:, :, :1]) * (np.arange(NUM_KNOTS) / (NUM_KNOTS - 1))[:, None]
    knots = chord + (knots - chord) * hand.roundness[:, None, None, None]
    noise = _bell(words) * hand.tremor[:, None, None]
    middle = 0.5 * (knots[:, :, :1] + knots[:, :, -1:])
    knots = middle + (knots - middle) * (1.0 + 0.08 * noise[:, :, 16, None, None])
    knots = knots + 0.8 * noise[:, :, None, 17:19]  # the whole stroke is misplaced
    step = knots[:, :, 1] - knots[:, :, 0]
    step = np.sqrt(step[..., 0] * step[..., 0] + step[..., 1] * step[..., 1])
    tremor = 0.17 * step[:, :, None, None] * noise[:, :, :16].reshape(knots.shape)
    knots = knots + tremor  # and its course trembles, a long stroke's more than a short one's
    x, y = knots[..., 0], knots[..., 1]
    matrix = [value[:, None, None] for value in (hand.xx, hand.xy, hand.yx, hand.yy, hand.shift_x, hand.shift_y)]
    xx, xy, yx, yy, shift_x, shift_y = matrix
    return np.stack((x * xx + y * xy + shift_x, x * yx + y * yy + shift_y), axis=-1) + 0.5 * SIZE


def _kept_on_paper(knots: Floats, drawn: Flags) -> Floats:
    """Characters that would run over the edge, moved back; nobody writes beside the paper."""
    low, high = _corners(knots, drawn)
    return knots + np.maximum(_BORDER - low, 0.0) - np.maximum(high - (SIZE - _BORDER), 0.0)


def _paths(knots: Floats) -> Floats:
    """Points along the quadratic B-splines of these control points, ends included: (n, strokes, points, 2)."""
    position = np.arange(NUM_KNOTS * _SEGMENTS_PER_SPAN + 1) / _SEGMENTS_PER_SPAN
    span = np.minimum(position.astype(np.int64), NUM_KNOTS - 1)
    t = (position - span)[:, None]
    before, after = np.maximum(span - 1, 0), np.minimum(span + 1, NUM_KNOTS - 1)
    weights = (0.5 * (1.0 - t) * (1.0 - t), 0.5 + t * (1.0 - t), 0.5 * t * t)
    return knots[:, :, before] * weights[0] + knots[:, :, span] * weights[1] + knots[:, :, after] * weights[2]


def _inked(paths: Floats, drawn: Flags, radius: Floats) -> Pixels:
    """Ink on paper: each pixel's darkness falls from 255 to 0 over one pixel around the edge of the pen."""
    width = SIZE + 2 * _MARGIN
    canvas = np.zeros(len(paths) * width * width, np.uint8)
    offsets = np.arange(-_REACH, _REACH + 1)
    paths = np.minimum(np.maximum(paths, 1.0 - _MARGIN + _REACH), SIZE + _MARGIN - _REACH - 1.0)
    for stroke in range(MAX_STROKES):
        rows = np.flatnonzero(drawn[:, stroke])
        for piece in range(paths.shape[2] - 1):
            start, end = paths[rows, stroke, piece], paths[rows, stroke, piece + 1]  # (rows, 2)
            under = np.floor(0.5 * (start + end)).astype(np.int64)  # the pixel (x, y) under the middle
            x, y = under[:, 0, None] + offsets, under[:, 1, None] + offsets  # (rows, window)
            ink = _ink(start, end, x + 0.5, y + 0.5, radius[rows])
            row_starts = (rows[:, None] * width + y + _MARGIN) * width
            place = row_starts[:, :, None] + (x + _MARGIN)[:, None, :]
            canvas[place] = np.maximum(canvas[place], ink)  # one window per image: no pixel occurs twice
    return canvas.reshape(-1, width, width)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _ink(start: Floats, end: Floats, x: Floats, y: Floats, radius: Floats) -> Pixels:
    """Ink of straight pieces on the pixels (x, y) of a window: (n, window), (n, window) -> (n, window, window)."""
    along_x, along_y = (end - start)[:, 0, None], (end - start)[:, 1, None]
    from_x, from_y = x - start[:, 0, None], y - start[:, 1, None]
    square = np.maximum(along_x * along_x + along_y * along_y, 1e-9)
    share = (from_x * along_x / square)[:, None, :] + (from_y * along_y / square)[:, :, None]
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    away_x = from_x[:, None, :] - share * along_x[:, :, None]
    away_y = from_y[:, :, None] - share * along_y[:, :, None]
    distance = np.sqrt(away_x * away_x + away_y * away_y)
    darkness = (radius[:, None, None] + 0.5 - distance) * 255.0
    return (np.minimum(np.maximum(darkness, 0.0), 255.0) + 0.5).astype(np.uint8)
