"""Intervals and percentiles of one row: over its episodes, its training seeds, or both. Each says what it covers.

Accuracies are fractions. Every interval is Student's t; no accuracy is printed with another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from episodes.spec import EPISODE, Unit

Accuracies = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

LEVEL = 0.95
"""Of every interval."""
OVER_EPISODES = "another draw of episodes from these test classes and images; not other classes, not another training"
OVER_CLASSES = "other classes and images of the same kind, and another draw of episodes; not another training"
OVER_IMAGES = "other images of these classes; not other classes"
OVER_SEEDS = "another training seed, on these episodes"
OVER_BOTH = "another training seed and another draw of episodes from these test classes and images; not other classes"


@dataclass(frozen=True)
class Interval:
    """A mean with the half width of its 95 % interval, as fractions, over ``n`` units.

    ``covers`` says what was varied, ``method`` how the interval was computed.
    """

    mean: float
    half_width: float
    n: int
    unit: str = "episodes"
    covers: str = OVER_EPISODES
    method: str = ""

    @property
    def low(self) -> float:
        """The lower bound."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper bound, which may lie above 1."""
        return self.mean + self.half_width

    def points(self) -> str:
        """``98.81 ± 0.06``, in percent."""
        return f"{100 * self.mean:.2f} ± {100 * self.half_width:.2f}"

    def percent(self) -> str:
        """``98.81 ± 0.06 %``."""
        return f"{self.points()} %"


@dataclass(frozen=True)
class Spread:
    """What the mean hides: accuracies of single episodes, as fractions."""

    percentile5: float
    median: float
    percentile95: float
    worst_decile: float  # mean accuracy of the worst tenth of the episodes
    perfect: float  # share of the episodes without a mistake


def formula(unit: Unit = EPISODE) -> str:
    """How ``episode_interval`` is computed, as records say it."""
    return (
        f"mean +- t * s / sqrt(n); Student's t with n - 1 df, s = sample standard deviation (ddof 1), n = {unit.name}"
    )


def unit_means(accuracies: Accuracies, unit: Unit = EPISODE) -> Accuracies:
    """The mean accuracy of each independent unit, (..., episodes) -> (..., units): of each episode, as a rule."""
    if unit.size == 1:
        return accuracies
    starts = np.arange(0, accuracies.shape[-1], unit.size)
    sums = np.add.reduceat(accuracies, starts, axis=-1)
    return np.asarray(sums / np.diff(starts, append=accuracies.shape[-1]), np.float64)


def episode_interval(accuracies: Accuracies, unit: Unit = EPISODE) -> Interval:
    """Student's t interval of the mean over episodes, or over what ``unit`` says; infinitely wide for a single one.

    Raises ValueError where there is no episode.
    """
    return _student(unit_means(accuracies, unit), unit.name, OVER_EPISODES)


def seed_interval(means: Accuracies) -> Interval:
    """Student's t interval over the mean accuracies of trainings that differ in their seed alone."""
    return _student(means, "training seeds", OVER_SEEDS)


def image_interval(shares: Accuracies) -> Interval:
    """Student's t interval of the mean over images, from the share of its splits in which each was correct."""
    return _student(shares, "images", OVER_IMAGES)


def share_interval(successes: int, trials: int) -> tuple[float, float]:
    """Low and high of the share of successes in the long run (Wilson 1927), where trials are independent."""
    from scipy import stats  # here: it takes longer to import than all else but PyTorch

    found = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def _student(values: Accuracies, unit: str, covers: str) -> Interval:
    n = len(values)
    if n == 0:
        raise ValueError(f"no {unit}, no interval")
    half_width = math.inf
    if n > 1:
        half_width = float(special.stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(float(np.mean(values)), half_width, n, unit, covers, f"Student t, {n - 1} df")


def combined_interval(over_episodes: Interval, over_seeds: Interval) -> Interval:
    """Over training seeds and episodes together: half width is the root of the sum of both squared half widths.

    Trainings and episodes are crossed (every training is tested on all episodes), so the variances of the mean add up;
    each keeps the quantile of its own degrees of freedom (Howe 1974, JASA 69; as MOVER in Zou and Donner 2008). With
    Satterthwaite's degrees of freedom the interval covers 92 of 100 with three seeds; this one 95 or more.
    ``over_episodes`` is that of the mean over seeds.
    """
    half_width = math.hypot(over_episodes.half_width, over_seeds.half_width)
    method = (
        f"root of squares: {over_seeds.n} seeds ({over_seeds.method}), {over_episodes.unit} ({over_episodes.method})"
    )
    return Interval(over_episodes.mean, half_width, over_seeds.n, over_seeds.unit, OVER_BOTH, method)


def spread(accuracies: Accuracies) -> Spread:
    """Percentiles, worst decile and share of perfect episodes. Raises ValueError where there is no episode."""
    if len(accuracies) == 0:
        raise ValueError("no episodes, no percentiles")
    percentile5, median, percentile95 = np.percentile(accuracies, [5, 50, 95])
    worst = np.sort(accuracies)[: math.ceil(len(accuracies) / 10)]
    return Spread(
        float(percentile5),
        float(median),
        float(percentile95),
        float(np.mean(worst)),
        float(np.mean(accuracies >= 1)),
    )
