"""Pictures that lie there twice: the same pixels anywhere, or nearly the same ones in two splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import DataError, first_few
from episodes.files import write_atomically
from episodes.images.decoding import Images, Picture, Problem
from episodes.images.near_copies import near_pairs, thumbnail
from episodes.types import ImageSet, Split

MOST_PAIRS = 500_000_000
"""Of pictures of two splits that a run compares, which takes seconds; beyond that it is left to `data check`."""


class Seen(dict[int, Any]):
    """In the place of an array of pixels: keeps a digest and a thumbnail of what is written into each row.

    ``sizes`` says how many pictures each split has, in their order.
    """

    def __init__(self, pictures: Sequence[Picture], sizes: Sequence[int]) -> None:
        super().__init__()
        self._pictures, self._starts = pictures, np.cumsum([0, *sizes])

    def __setitem__(self, row: int, pixels: Images) -> None:
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
        super().__setitem__(row, (digest, thumbnail(pixels)))

    def problems(self) -> list[Problem]:
        """One line on pictures of equal pixels, one on those nearly alike, where there are any."""
        alike: dict[bytes, list[str]] = {}
        for row, (digest, _) in sorted(self.items()):
            alike.setdefault(digest, []).append(self._pictures[row].name)
        same = [f"{first} = {other}" for first, *others in alike.values() for other in others]
        near = [
            f"{self._pictures[row].name} ~ {self._pictures[other].name}"
            for row, other in self._near()
            if self[row][0] != self[other][0]
        ]
        found = [Problem(f"{len(same)} images are copies of another, pixel for pixel", same)] if same else []
        return found + ([Problem(f"{len(near)} images are nearly those of another split", near)] if near else [])

    def _near(self) -> list[tuple[int, int]]:
        ends = zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True)
        rows = [[row for row in range(start, end) if row in self] for start, end in ends]
        small = [np.stack([self[row][1] for row in part]) for part in rows if part]
        named = [part for part in rows if part]
        return [
            (named[a][i], named[b][j])
            for a, b in combinations(range(len(named)), 2)
            for i, j in near_pairs(small[a], small[b])
        ]


def near_copies_sentence(splits: Mapping[Split, ImageSet], files: Mapping[Split, Sequence[str]], cache: Path) -> str:
    """How many pictures of one split are, nearly, in another, in a sentence; empty where none is.

    What was found is kept in ``cache``, under the fingerprints of the splits.
    """
    pairs = sum(len(a.images) * len(b.images) for a, b in combinations(splits.values(), 2))
    if pairs > MOST_PAIRS:
        return "Too many images to look for copies between the splits at every run: `fewshot data check` does."
    key = hashlib.sha256("\n".join(found.pixels_digest for found in splits.values()).encode()).hexdigest()[:16]
    path = cache / f"near-copies-v1-{key}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(one), str(other)) for one, other in kept]
    except (OSError, ValueError, TypeError):
        small = {split: np.stack([thumbnail(image.numpy()) for image in splits[split].images]) for split in splits}
        found = [
            (files[split][i], files[other][j])
            for split, other in combinations(splits, 2)
            for i, j in near_pairs(small[split], small[other])
        ]
        with suppress(OSError, DataError):  # then the next run looks again
            write_atomically(path, json.dumps(found).encode())
    if not found:
        return ""
    pairs_named = first_few([" ~ ".join(pair) for pair in found], 1)
    return f"{len(found)} images are copies, or nearly, of one in another split: {pairs_named} (`fewshot data check`)."
