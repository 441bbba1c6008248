"""Several methods over several protocols: mean ranks, Friedman's test, Nemenyi's critical difference (Demšar 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEW_DATASETS = 6
"""Below this many data sets a critical-difference diagram has next to no power."""


@dataclass(frozen=True)
class RankTable:
    """Ranks of the methods (columns) on each protocol (rows); rank 1 is best, equal accuracies share the mean rank."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    ranks: npt.NDArray[np.float64]  # (protocols, methods)
    mean_ranks: npt.NDArray[np.float64]  # (methods,)
    friedman_p: float | None  # that all methods are equal; None for fewer than three methods or two protocols
    critical_difference: float  # of mean ranks, Nemenyi's test at 5 %
    warning: str  # why not to trust it; empty where there is no reason

    @property
    def order(self) -> list[int]:
        """The methods from the best mean rank to the worst."""
        return [int(index) for index in np.argsort(self.mean_ranks, kind="stable")]

    def groups(self) -> list[tuple[int, int]]:
        """First and last place (in ``order``) of each largest run of methods closer than the critical difference."""
        sorted_ranks = self.mean_ranks[self.order]
        found: list[tuple[int, int]] = []
        for first, rank in enumerate(sorted_ranks):
            last = int(np.searchsorted(sorted_ranks, rank + self.critical_difference, side="right")) - 1
            if last > first and not (found and found[-1][1] >= last):
                found.append((first, last))
        return found


def nemenyi_difference(num_methods: int, num_protocols: int) -> float:
    """q sqrt(k (k + 1) / 6 N); q is the studentized range quantile over the root of 2 (Demšar 2006, section 3.2.2)."""
    from scipy import stats  # here and below: it takes a second to import

    quantile = float(stats.studentized_range.ppf(0.95, num_methods, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(num_methods * (num_methods + 1) / (6 * num_protocols))


def rank_table(
    methods: Sequence[str], protocols: Sequence[str], accuracies: npt.NDArray[np.float64], num_datasets: int
) -> RankTable:
    """Rank methods by accuracies (protocols, methods), none missing, over protocols of ``num_datasets`` data sets.

    Raises ValueError with fewer than two methods or no protocol.
    """
    if accuracies.shape != (len(protocols), len(methods)) or len(methods) < 2 or not protocols:
        raise ValueError(f"accuracies {accuracies.shape} for {len(protocols)} protocols and {len(methods)} methods")
    from scipy import stats

    ranks = np.asarray(stats.rankdata(-accuracies, axis=1), np.float64)
    friedman_p = None
    if len(methods) > 2 and len(protocols) > 1:
        all_tied = bool(np.all(ranks == ranks[:, :1]))
        friedman_p = 1.0 if all_tied else float(stats.friedmanchisquare(*accuracies.T).pvalue)
    return RankTable(
        tuple(methods),
        tuple(protocols),
        ranks,
        ranks.mean(axis=0),
        friedman_p,
        nemenyi_difference(len(methods), len(protocols)),
        _warning(len(protocols), num_datasets),
    )


def _warning(num_protocols: int, num_datasets: int) -> str:
    if num_datasets >= FEW_DATASETS:
        return ""
    protocols = f"{num_protocols} protocol{'s' if num_protocols != 1 else ''}"
    datasets = f"{num_datasets} data set{'s' if num_datasets != 1 else ''}"
    return (
        f"{protocols} of {datasets} are too few for a critical-difference diagram ({FEW_DATASETS} data sets are the "
        "least), and protocols of one data set are not independent: trust the paired intervals of each protocol"
    )
