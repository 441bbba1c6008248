"""The open interval: how far the accuracy would move with other classes and images of the same kind.

The usual interval over episodes is closed: episodes drawn with replacement from 20 classes say more and more about
these 20 classes and nothing about others (Lafargue et al., TMLR 2024, arXiv 2409.02850). The two-level bootstrap here
takes the classes, with their images, as a sample, and the episodes as a second one.

What a record must hold for it is the correct queries of every episode, and which classes an episode drew: these follow
from the episode seed (``class_groups``). The accuracy of episode i is taken as y_i = mu + sum of a_g over its classes
+ e_i: an effect for each class and a rest. Both variances are estimated without bias by the method of moments, and the
effects and rests, scaled to these variances, are drawn with replacement on their two levels: the reflated residual
bootstrap of Carpenter, Goldstein and Rasbash (JRSS C 2003). Classes are drawn whole, their images with them, which
covers both: drawing the images a second time would count their share twice (Davison and Hinkley 1997, section 3.8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from fewshot.statistics.intervals import OPEN, Accuracies, CoveringInterval

Groups = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VarianceComponents:
    """Variance of the effect that one class has on an episode's accuracy, and of the rest."""

    classes: float
    rest: float


class ClassDesign:
    """Which classes each episode drew. Made once for a protocol, used for every record on its episodes."""

    def __init__(self, groups: Groups) -> None:
        """``groups`` (episodes, way): for each episode the ids of its classes (or of what its classes are made of)."""
        num_episodes, way = groups.shape
        _, ids = np.unique(groups, return_inverse=True)
        rows = np.repeat(np.arange(num_episodes), way)
        self.num_episodes, self.num_groups = num_episodes, int(ids.max()) + 1
        shape = (num_episodes, self.num_groups)
        ones = np.ones(len(rows))
        self.members = sparse.csr_array((ones, (rows, ids.reshape(-1))), shape=shape)  # doubles add up

    @cached_property
    def drawn(self) -> npt.NDArray[np.float64]:
        """How often each class was drawn, (num_groups,)."""
        return np.asarray(self.members.sum(axis=0), np.float64).reshape(-1)

    @cached_property
    def gram(self) -> npt.NDArray[np.float64]:
        """How often two classes met, (num_groups, num_groups)."""
        return np.asarray((self.members.T @ self.members).todense(), np.float64)

    @cached_property
    def traces(self) -> tuple[float, float]:
        """tr(PK) and tr(PKPK): K episodes by episodes, the classes that two of them share; P takes off the mean."""
        n = self.num_episodes
        shared = float(self.drawn @ self.drawn)
        rows = np.asarray(self.members @ self.drawn)
        twice = float(np.sum(self.gram**2)) - 2 * float(rows @ rows) / n + shared**2 / n**2
        return float(np.trace(self.gram)) - shared / n, twice

    def components(self, residuals: Accuracies) -> VarianceComponents:
        """Unbiased moment estimates from r'r and r'Kr, none below zero."""
        trace, twice = self.traces
        sums = np.asarray(self.members.T @ residuals)
        measured = np.array([float(residuals @ residuals), float(sums @ sums)])
        expected = np.array([[trace, self.num_episodes - 1.0], [twice, trace]])
        if trace**2 >= (1 - 1e-9) * twice * (self.num_episodes - 1):  # every episode the same classes, or classes of
            return VarianceComponents(0.0, float(measured[0]) / max(1, self.num_episodes - 1))  # its own: no telling
        of_classes, rest = np.linalg.solve(expected, measured)
        return VarianceComponents(max(0.0, float(of_classes)), max(0.0, float(rest)))

    @cached_property
    def axes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Eigenvalues and eigenvectors of ``gram``, so that each record's effects are two products away."""
        values, vectors = np.linalg.eigh(self.gram)
        return np.maximum(values, 0), vectors

    @lru_cache(maxsize=16)  # noqa: B019 - a design is kept for as long as its resamples
    def resampled(self, resamples: int, seed: int) -> npt.NDArray[np.float64]:
        """How much each class weighs in the mean accuracy when classes are drawn anew, (resamples, num_groups)."""
        chosen = np.random.default_rng(seed).integers(0, self.num_groups, (resamples, self.num_groups))
        cells = chosen + self.num_groups * np.arange(resamples)[:, None]
        weights = np.broadcast_to(self.drawn / self.num_episodes, chosen.shape)
        flat = np.bincount(cells.reshape(-1), weights.reshape(-1), minlength=chosen.size)
        return np.asarray(flat, np.float64).reshape(chosen.shape)

    def effects(self, residuals: Accuracies, components: VarianceComponents) -> Accuracies:
        """The predicted effect of each class, centered and scaled to the estimated variance, (num_groups,)."""
        if components.classes == 0:
            return np.zeros(self.num_groups)
        ridge = max(components.rest / components.classes, 1e-9)
        sums = np.asarray(self.members.T @ residuals, np.float64)
        values, vectors = self.axes
        predicted = vectors @ ((vectors.T @ sums) / (values + ridge))
        centered = predicted - predicted.mean()
        scale = math.sqrt(components.classes / max(float(np.mean(centered**2)), 1e-300))
        return np.asarray(centered * scale, np.float64)


def open_interval(
    accuracies: Accuracies, design: ClassDesign, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> CoveringInterval:
    """Two-level bootstrap over classes and episodes; ``n`` counts the classes.

    The mean of the redrawn rests is drawn from its normal limit. With few classes a bootstrap is too narrow: its
    percentiles are moved outward by the ratio of Student's t with (classes - 1) df to the normal quantile.
    Raises ValueError where the accuracies are not those of the design's episodes, or come from a single class.
    """
    if len(accuracies) != design.num_episodes or design.num_groups < 2:
        raise ValueError(
            f"{len(accuracies)} accuracies for {design.num_episodes} episodes of {design.num_groups} classes: "
            "as many accuracies as episodes are needed, and two classes or more"
        )
    mean = float(np.mean(accuracies))
    residuals = accuracies - mean
    components = design.components(residuals)
    effects = design.effects(residuals, components)
    deviation = math.sqrt(components.rest / design.num_episodes)
    moved = design.resampled(resamples, seed) @ effects
    moved += np.random.default_rng([seed, 1]).normal(0, deviation, resamples)
    tail = (1 + level) / 2
    widening = float(stats.t.ppf(tail, design.num_groups - 1) / stats.norm.ppf(tail))
    low, high = mean + widening * np.quantile(moved, [1 - tail, tail])
    return CoveringInterval(
        mean,
        max(0.0, float(low)),
        min(1.0, float(high)),
        design.num_groups,
        "classes",
        OPEN,
        f"two-level bootstrap over classes (with their images) and episodes, {resamples:,} resamples",
    )
