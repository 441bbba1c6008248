"""Methods compared on the same episodes: paired differences, corrections for many comparisons, ranks with ties."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from fewshot.statistics.intervals import Accuracies

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """First minus second on the same episodes, as fractions; p values are two-sided."""

    mean: float
    low: float
    high: float
    n: int
    wins: int  # episodes on which the first is the better one
    ties: int
    losses: int
    effect_size: float  # mean difference over the standard deviation of the differences (Cohen's d_z)
    p: float  # paired t test
    detectable: float  # the smallest true difference that this many episodes find in 80 of 100 experiments

    def percent(self) -> str:
        """``+0.53 ± 0.08``, in percentage points."""
        return f"{100 * self.mean:+.2f} ± {50 * (self.high - self.low):.2f}"


def paired_difference(first: Accuracies, second: Accuracies, level: float = 0.95) -> PairedDifference:
    """The difference of two methods on the same episodes, with Student's t interval over the episodes (closed).

    Raises ValueError unless both hold the accuracies of the same two or more episodes.
    """
    n = len(first)
    if n != len(second) or n < 2:
        raise ValueError(f"{n} and {len(second)} episodes cannot be paired: both need the same two or more")
    differences = first - second
    differences[np.abs(differences) < 1e-12] = 0  # a tie, whatever the rounding
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    wins, losses = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    half_width = float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n)
    return PairedDifference(
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        n=n,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        effect_size=mean / deviation if deviation else math.copysign(math.inf, mean) if mean else 0.0,
        p=_t_test(mean, deviation, n),
        detectable=minimum_detectable_difference(deviation, n, level=level),
    )


def _t_test(mean: float, deviation: float, n: int) -> float:
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (deviation / math.sqrt(n)), n - 1))


def holm(p_values: npt.ArrayLike) -> Matrix:
    """p values corrected for their number (Holm 1979), flat, in the order given.

    Held against a level, the chance of a single false claim among all of them stays below that level.
    """
    flat = np.asarray(p_values, np.float64)
    order = np.argsort(flat, kind="stable")
    scaled = flat[order] * np.arange(len(flat), 0, -1)
    corrected = np.empty_like(flat)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected


def minimum_detectable_difference(deviation: float, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """The true mean difference that a t test over ``n`` episodes finds with this power.

    ``deviation`` is that of the differences of one episode; for two methods on episodes of their own it is
    ``hypot(deviation of one, deviation of the other)``. Normal approximation of the noncentral t.
    """
    quantile = stats.t.ppf((1 + level) / 2, n - 1) + stats.norm.ppf(power)
    return float(quantile * deviation / math.sqrt(n))


def pairwise_p(accuracies: Matrix) -> Matrix:
    """Holm-corrected p values of all paired t tests: (methods, episodes) -> (methods, methods), 1 on the diagonal."""
    num_methods, n = accuracies.shape
    means = accuracies.mean(axis=1)
    centered = accuracies - means[:, None]
    covariance = centered @ centered.T / (n - 1)
    variances = np.diag(covariance)
    of_differences = np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0)
    of_differences[of_differences < 1e-15] = 0  # what rounding leaves of two equal rows
    gaps = np.abs(means[:, None] - means[None, :])
    gaps[gaps < 1e-12] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(gaps == 0, 0, gaps / np.sqrt(of_differences / n))
    raw = 2 * stats.t.sf(scores, n - 1)
    corrected = np.ones((num_methods, num_methods))
    upper = np.triu_indices(num_methods, 1)
    corrected[upper] = holm(raw[upper])
    return np.minimum(corrected, corrected.T)


@dataclass(frozen=True)
class Rank:
    """The places a method can claim: ``best`` is 1 + the methods surely better, ``worst`` the last not ruled out."""

    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


def ranks_with_ties(accuracies: Matrix, alpha: float = 0.05) -> list[Rank]:
    """Ranks of methods on the same episodes, (methods, episodes), shared by those that no paired test separates."""
    num_methods, n = accuracies.shape
    if n < 2:
        return [Rank(1, num_methods)] * num_methods
    separate = pairwise_p(accuracies) < alpha
    means = accuracies.mean(axis=1)
    better = separate & (means[None, :] > means[:, None])  # [i, j]: j is surely better than i
    worse = separate & (means[None, :] < means[:, None])
    return [
        Rank(1 + int(above), num_methods - int(below))
        for above, below in zip(better.sum(axis=1), worse.sum(axis=1), strict=True)
    ]
