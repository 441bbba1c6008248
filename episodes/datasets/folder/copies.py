"""Pictures that lie there twice: the same pixels anywhere, or nearly the same ones where they mislead.

That is in two splits, and within the test: there a query may meet itself in its own support.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
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
"""Of pictures that a run compares, which takes seconds; beyond that it is left to `data check`."""


Pairs = dict[tuple[Split, Split], list[tuple[int, int]]]
"""Of each two splits the rows that show nearly the same, each picture of the second once."""


class Seen(dict[int, Any]):
    """In the place of an array of pixels: keeps a digest and a thumbnail of what is written into each row.

    ``sizes`` says how many pictures each split has, in their order.
    """

    def __init__(self, pictures: Sequence[Picture], sizes: Mapping[Split, int]) -> None:
        super().__init__()
        self._pictures, self._sizes = pictures, sizes

    def __setitem__(self, row: int, pixels: Images) -> None:
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
        super().__setitem__(row, (digest, thumbnail(pixels)))

    def problems(self) -> list[Problem]:
        """A line each on pictures of equal pixels, on near copies between splits and within the test, if any."""
        alike: dict[bytes, list[str]] = {}
        for row, (digest, _) in sorted(self.items()):
            alike.setdefault(digest, []).append(self._pictures[row].name)
        same = [f"{first} = {other}" for first, *others in alike.values() for other in others]
        found = [Problem(f"{len(same)} images are copies of another, pixel for pixel", same)] if same else []
        for where, within in ("those of another split", False), ("another in the test, which falsifies accuracy", True):
            near = [
                f"{self._pictures[row].name} ~ {self._pictures[copy].name}"
                for (one, other), pairs in self._near.items()
                for row, copy in pairs
                if (one == other) == within and self[row][0] != self[copy][0]
            ]
            found += [Problem(f"{len(near)} images are nearly {where}", near)] if near else []
        return found

    @cached_property
    def _near(self) -> Pairs:
        start, rows = 0, {}
        for split, size in self._sizes.items():
            rows[split] = [row for row in range(start, start + size) if row in self]
            start += size
        small = {split: np.stack([self[row][1] for row in part]) for split, part in rows.items() if part}
        return {
            (one, other): [(rows[one][i], rows[other][j]) for i, j in pairs]
            for (one, other), pairs in _near_copies(small).items()
        }


def near_copies_sentence(splits: Mapping[Split, ImageSet], files: Mapping[Split, Sequence[str]], cache: Path) -> str:
    """How many pictures are, nearly, in another split or twice in the test, in a sentence; empty where none is.

    What was found is kept in ``cache``, under the fingerprints of the splits.
    """
    if sum(len(splits[one].images) * len(splits[other].images) for one, other in _compared(splits)) > MOST_PAIRS:
        return "Too many images to look for copies at every run: `fewshot data check` does."
    key = hashlib.sha256("\n".join(found.pixels_digest for found in splits.values()).encode()).hexdigest()[:16]
    path = cache / f"near-copies-v2-{key}.json"
    try:
        found = [(str(one), str(other), bool(within)) for one, other, within in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        small = {split: np.stack([thumbnail(image.numpy()) for image in splits[split].images]) for split in splits}
        found = [
            (files[one][i], files[other][j], one == other)
            for (one, other), pairs in _near_copies(small).items()
            for i, j in pairs
        ]
        with suppress(OSError, DataError):  # then the next run looks again
            write_atomically(path, json.dumps(found).encode())
    said = []
    for is_within, of in (
        (False, "one in another split"),
        (True, "another that is tested, too, which falsifies accuracy"),
    ):
        if pairs := [f"{one} ~ {other}" for one, other, within in found if within == is_within]:
            said.append(f"{len(pairs)} images are copies, or nearly, of {of}: {first_few(pairs, 1)}")
    return ". ".join(said) + " (`fewshot data check`)." if said else ""


def _compared(splits: Iterable[Split]) -> list[tuple[Split, Split]]:
    return [*combinations(splits, 2), *((split, split) for split in splits if split == "test")]


def _near_copies(small: Mapping[Split, Images]) -> Pairs:
    """Rows of the thumbnails; within the test a copy stands beside the first picture that it is nearly."""
    found: Pairs = {}
    for one, other in _compared(small):
        first: dict[int, int] = {}
        for i, j in near_pairs(small[one], small[other]):
            if one != other or i < j:
                first.setdefault(j, i)
        found[one, other] = [(i, j) for j, i in first.items()]
    return found
