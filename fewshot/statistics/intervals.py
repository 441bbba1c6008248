"""Intervals and percentiles of one row: over its episodes, over its training seeds. Each says what it covers.

Accuracies are fractions, one for each episode. The half width that a record states (``Interval``, with 1.96) is the
normal form of ``episode_interval``; from 600 episodes on the two agree to 0.2 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Accuracies = npt.NDArray[np.float64]

CLOSED = "the draw of episodes from these test classes and images; closed: not other classes, not another training"
OPEN = "other classes and images of the same kind, and the draw of episodes; not another training"
OVER_SEEDS = "another training seed, on these episodes"


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


@dataclass(frozen=True)
class CoveringInterval:
    """A mean with a 95 % interval, as fractions, over ``n`` units. ``covers`` says what was varied, ``method`` how."""

    mean: float
    low: float
    high: float
    n: int
    unit: str
    covers: str
    method: str

    @property
    def half_width(self) -> float:
        """Half of the interval's length, what stands behind ±."""
        return (self.high - self.low) / 2

    def percent(self) -> str:
        """``98.81 ± 0.06 %``; ``98.81 [98.75, 98.86] %`` where the interval is visibly lopsided."""
        low, high = 100 * (self.mean - self.low), 100 * (self.high - self.mean)
        if math.isfinite(low) and f"{low:.2f}" != f"{high:.2f}" and abs(low - high) > 0.1 * (low + high):
            return f"{100 * self.mean:.2f} [{100 * self.low:.2f}, {100 * self.high:.2f}] %"
        return f"{100 * self.mean:.2f} ± {100 * self.half_width:.2f} %"


@dataclass(frozen=True)
class Spread:
    """What the mean hides: accuracies of single episodes, as fractions."""

    percentile5: float
    median: float
    percentile95: float
    worst_decile: float  # mean accuracy of the worst tenth of the episodes
    perfect: float  # share of the episodes without a mistake


def episode_interval(accuracies: Accuracies, level: float = 0.95) -> CoveringInterval:
    """Student's t interval of the mean over episodes; infinitely wide for a single one.

    Raises ValueError where there is no episode.
    """
    return _student(accuracies, level, "episodes", CLOSED)


def seed_interval(means: Accuracies, level: float = 0.95) -> CoveringInterval:
    """Student's t interval over the mean accuracies of trainings that differ in their seed alone."""
    return _student(means, level, "training seeds", OVER_SEEDS)


def _student(values: Accuracies, level: float, unit: str, covers: str) -> CoveringInterval:
    n = len(values)
    if n == 0:
        raise ValueError(f"no {unit}, no interval")
    mean, half_width = float(np.mean(values)), math.inf
    if n > 1:
        half_width = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return CoveringInterval(mean, mean - half_width, mean + half_width, n, unit, covers, f"Student t, {n - 1} df")


def crowds_at_the_top(accuracies: Accuracies) -> bool:
    """Whether most episodes have no mistake, so that the distribution is too lopsided for a symmetric interval."""
    return float(np.mean(accuracies >= 1)) > 0.5


def bca_interval(accuracies: Accuracies, level: float = 0.95, resamples: int = 4000, seed: int = 0) -> CoveringInterval:
    """Bootstrap over episodes, bias-corrected and accelerated (Efron 1987); lopsided where the accuracies are.

    The interval of ``scipy.stats.bootstrap(method="BCa")``, for the mean alone: an episode's accuracy takes few
    values, so a resample is a draw of their frequencies, and 10,000 episodes take milliseconds instead of half a
    minute. Raises ValueError where there is no episode.
    """
    n = len(accuracies)
    if n == 0:
        raise ValueError("no episodes, no interval")
    mean = float(np.mean(accuracies))
    deviations = accuracies - mean
    squares = float(np.sum(deviations**2))
    method = f"BCa bootstrap, {resamples:,} resamples"
    if n == 1 or squares <= n * 1e-24:  # one value only: nothing to resample
        edge = math.inf if n == 1 else 0.0
        return CoveringInterval(mean, mean - edge, mean + edge, n, "episodes", CLOSED, method)
    values, frequencies = np.unique(accuracies, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(n, frequencies / n, size=resamples)
    means = drawn @ values / n
    share_below = (np.sum(means < mean) + np.sum(means <= mean)) / (2 * resamples)
    bias = stats.norm.ppf(share_below)
    acceleration = float(np.sum(deviations**3)) / (6 * squares**1.5)
    tails = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    corrected = stats.norm.cdf(bias + tails / (1 - acceleration * tails))
    low, high = np.quantile(means, corrected)
    return CoveringInterval(mean, float(low), float(high), n, "episodes", CLOSED, method)


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
