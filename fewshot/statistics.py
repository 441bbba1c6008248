"""Means and intervals over episodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CI95_FORMULA = "mean +- 1.96 * s / sqrt(n); s = sample standard deviation over episodes (ddof 1), n = episodes"


@dataclass(frozen=True)
class Interval:
    """A mean with the half width of its 95 % interval, as fractions, over ``n`` episodes.

    The interval covers the draw of test episodes from these classes; it says nothing of other classes or of another
    training seed.
    """

    mean: float
    ci95: float
    n: int

    def percent(self) -> str:
        """``98.81 ± 0.06 %``."""
        return f"{100 * self.mean:.2f} ± {100 * self.ci95:.2f} %"


def interval_over_episodes(accuracies: npt.NDArray[np.float64]) -> Interval:
    """The interval of CI95_FORMULA; with a single episode its half width is infinite."""
    n = len(accuracies)
    if n == 0:
        raise ValueError("no episodes, no accuracy")
    half_width = 1.96 * float(np.std(accuracies, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Interval(float(np.mean(accuracies)), half_width, n)
