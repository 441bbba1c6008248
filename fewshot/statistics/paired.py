"""Methods compared on the same episodes: paired differences, corrections for many comparisons, ranks with ties.

A row is an array of accuracies (seeds, episodes). Episodes are paired, training seeds are not: the seed 0 of one method
has nothing in common with the seed 0 of another. What the seeds leave open and what the episodes leave open are
independent and add up; p values and intervals give each the quantile of its own degrees of freedom, as
``combined_interval`` does. Rows of one training each are compared over episodes alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from fewshot.statistics.intervals import LEVEL, Matrix
from fewshot.statistics.seed_spread import seed_spread


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
    p: float  # paired t test over episodes; with several seeds over both
    detectable: float  # the smallest true difference that so many episodes and seeds find in 80 of 100 experiments

    def percent(self) -> str:
        """``+0.53 ± 0.08``, in percentage points."""
        return f"{100 * self.mean:+.2f} ± {50 * (self.high - self.low):.2f}"


@dataclass(frozen=True)
class _Variances:
    """Variances of mean differences: through the seeds, with their degrees of freedom, and through n - 1 episodes."""

    seeds: Matrix
    seeds_df: Matrix
    episodes: Matrix
    episodes_df: float

    def half_width(self, p: Matrix) -> Matrix:
        """Of the interval that a difference with this two-sided p value just reaches."""
        of_seeds = self.seeds * special.stdtrit(self.seeds_df, p / 2) ** 2
        return np.asarray(np.sqrt(of_seeds + self.episodes * special.stdtrit(self.episodes_df, p / 2) ** 2))


def paired_difference(rows: Sequence[Matrix], first: int = 0, second: int = 1) -> PairedDifference:
    """The difference of two of some rows, with its interval over episodes, and over seeds where there are several.

    Raises ValueError unless both hold the accuracies of the same two or more episodes.
    """
    n = rows[first].shape[1]
    if n != rows[second].shape[1] or n < 2:
        raise ValueError(f"{n} and {rows[second].shape[1]} episodes cannot be paired: both need the same two or more")
    differences = rows[first].mean(axis=0) - rows[second].mean(axis=0)
    differences[np.abs(differences) < 1e-12] = 0  # a tie, whatever the rounding
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    wins, losses = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    variances = _variances(rows, np.array([first]), np.array([second]), np.array([deviation**2 / n]))
    half_width = float(variances.half_width(np.array([1 - LEVEL]))[0])
    error = math.sqrt(float(variances.seeds[0] + variances.episodes[0]))
    return PairedDifference(
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        n=n,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        effect_size=mean / deviation if deviation else math.copysign(math.inf, mean) if mean else 0.0,
        p=float(_p(np.array([mean]), variances)[0]),
        detectable=half_width + float(special.ndtri(0.8)) * error,
    )


def _variances(
    rows: Sequence[Matrix], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], episodes: Matrix
) -> _Variances:
    """Of the differences of pairs of rows; the degrees of freedom of two rows together are Welch's."""
    spread = seed_spread(rows)
    of_first, of_second = spread.variances[first], spread.variances[second]
    both = of_first + of_second
    weighted = of_first**2 / spread.df[first] + of_second**2 / spread.df[second]
    df = np.divide(both**2, weighted, out=np.ones_like(both), where=weighted > 0)
    return _Variances(both, np.minimum(df, spread.most_df), episodes, rows[0].shape[1] - 1.0)


def _p(differences: Matrix, variances: _Variances) -> Matrix:
    """Two-sided p values: the p whose interval a difference just reaches."""
    size = np.abs(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(size == 0, 0, size / np.sqrt(variances.episodes))
    p = np.asarray(2 * special.stdtr(variances.episodes_df, -scores), np.float64)
    open_ = (variances.seeds > 0) & (size > 0)
    if open_.any():
        parts = _Variances(
            variances.seeds[open_], variances.seeds_df[open_], variances.episodes[open_], variances.episodes_df
        )
        p[open_] = _p_reaching(size[open_], parts)
    return p


def _p_reaching(size: Matrix, variances: _Variances) -> Matrix:
    """The p whose interval is as wide as this, by bisection of its logarithm: ten digits; 0 below e^-80."""
    low, high = np.full(len(size), -80.0), np.zeros(len(size))
    never = variances.half_width(np.exp(low)) < size
    for _ in range(40):
        middle = (low + high) / 2
        wide = variances.half_width(np.exp(middle)) > size
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return np.where(never, 0.0, np.exp(high))


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


def pairwise_p(rows: Sequence[Matrix]) -> Matrix:
    """Holm-corrected p values of all pairs of rows, (rows, rows), 1 on the diagonal."""
    accuracies = np.stack([row.mean(axis=0) for row in rows])
    num_rows, n = accuracies.shape
    means = accuracies.mean(axis=1)
    centered = accuracies - means[:, None]
    covariance = centered @ centered.T / (n - 1)
    first, second = np.triu_indices(num_rows, 1)
    of_differences = np.diag(covariance)[first] + np.diag(covariance)[second] - 2 * covariance[first, second]
    of_differences[of_differences < 1e-15] = 0  # what rounding leaves of two equal rows
    gaps = means[first] - means[second]
    gaps[np.abs(gaps) < 1e-12] = 0
    corrected = np.ones((num_rows, num_rows))
    corrected[first, second] = holm(_p(gaps, _variances(rows, first, second, of_differences / n)))
    return np.minimum(corrected, corrected.T)


@dataclass(frozen=True)
class Rank:
    """The places a method can claim: ``best`` is 1 + the methods surely better, ``worst`` the last not ruled out."""

    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


def ranks_with_ties(rows: Sequence[Matrix]) -> list[Rank]:
    """Ranks of rows on the same episodes, shared by those that no test over seeds and episodes separates."""
    num_rows = len(rows)
    if rows[0].shape[1] < 2:
        return [Rank(1, num_rows)] * num_rows
    separate = pairwise_p(rows) < 0.05
    means = np.array([row.mean() for row in rows])
    better = separate & (means[None, :] > means[:, None])  # [i, j]: j is surely better than i
    worse = separate & (means[None, :] < means[:, None])
    return [
        Rank(1 + int(above), num_rows - int(below))
        for above, below in zip(better.sum(axis=1), worse.sum(axis=1), strict=True)
    ]
