"""The version in a protocol's name. What can move a score gets a new one. Needs no torch, so that tables can ask."""

from __future__ import annotations

import re

VERSION = 1

CHANGES = {
    1: "class-distinct episodes drawn by Philox4x32-10 (episodes.draws), query order shuffled, batch norm in "
    "evaluation mode; Omniglot rotated at 105x105 and resized to 28x28 by Lanczos",
}
"""What each version changed, and so why numbers under different ones are not compared."""


def version_of(protocol: str) -> int:
    """The version in ``omniglot-vinyals-28/5w1s/q15@v1``; 0 where the name has none."""
    found = re.search(r"@v(\d+)$", protocol)
    return int(found[1]) if found else 0


def is_current(protocol: str) -> bool:
    """Whether records under this protocol stand beside those that are made today."""
    return version_of(protocol) == VERSION
