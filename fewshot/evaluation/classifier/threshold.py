"""From how well held-out images were known to what a new image must reach, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episodes.errors import UserError


@dataclass(frozen=True)
class Threshold:
    """An image that is known less than ``least`` is rejected."""

    least: float
    known: int  # held-out images of known classes
    known_rejected: int
    unknown: int  # images whose whole class was held out; 0 where none was
    unknown_rejected: int

    def __str__(self) -> str:
        found = (
            f"unknown is what is known below {self.least:.4f}: so were {self.known_rejected} of {self.known} images "
        )
        found += "while they were held out"
        if self.unknown:
            found += f", and {self.unknown_rejected} of {self.unknown} while their whole class was"
        return found


def threshold_for_new(known: Sequence[float], unknown: Sequence[float], share: float) -> Threshold:
    """The threshold below which a new image of a known class falls with a chance of at most ``share``.

    As likely as not, a new image lies anywhere among the held-out ones, so below the k-th least of n with a chance of
    k / (n + 1) (split-conformal prediction; Vovk et al. 2005). So few may be held out that this is more than ``share``
    for the very least: then no threshold keeps the word. Raises UserError.
    """
    ordered = np.sort(np.asarray(known, dtype=np.float64))
    rank = math.floor(share * (len(ordered) + 1) + 1e-9)
    if rank < 1:
        smallest = math.ceil(1000 / (len(ordered) + 1)) / 1000
        raise UserError(
            f"{len(ordered)} images were held out in the fit, too few to say what 1 in {1 / share:.0f} is: "
            f"use --reject {smallest:.3f} or more, or fit with more images"
        )
    least = float(ordered[rank - 1])
    rejected = int((np.asarray(unknown) < least).sum())
    return Threshold(least, len(ordered), int((ordered < least).sum()), len(unknown), rejected)
