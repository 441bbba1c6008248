"""The interval over classes: how far the accuracy would move with other classes and images of the same kind.

The usual interval over episodes is closed: episodes drawn with replacement from 20 classes say more and more about
these 20 classes and nothing about others (Lafargue et al., TMLR 2024, arXiv 2409.02850). Here the classes, with their
images, are a sample as well.

What a record must hold for it is the correct queries of every episode, and which classes an episode drew: these follow
from the episode seed (``class_design``). The accuracy of episode i is taken as y_i = mu + sum of a_g over its classes
+ e_i: an effect for each class and a rest. Both variances are estimated without bias by the method of moments; what
they leave in the mean follows in closed form. A class is drawn with its images, which covers both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from fewshot.statistics.intervals import LEVEL, OVER_CLASSES, Accuracies, Interval

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
    def traces(self) -> tuple[float, float]:
        """tr(PK) and tr(PKPK): K episodes by episodes, the classes that two of them share; P takes off the mean."""
        n = self.num_episodes
        met = np.asarray((self.members.T @ self.members).todense(), np.float64)  # how often two classes did
        shared = float(self.drawn @ self.drawn)
        rows = np.asarray(self.members @ self.drawn)
        twice = float(np.sum(met**2)) - 2 * float(rows @ rows) / n + shared**2 / n**2
        return float(np.trace(met)) - shared / n, twice

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


def class_interval(accuracies: Accuracies, design: ClassDesign) -> Interval:
    """Student's t interval over classes and episodes, from variance components; ``n`` counts the classes.

    Raises ValueError where the accuracies are not those of the design's episodes, or come from a single class.
    """
    if len(accuracies) != design.num_episodes or design.num_groups < 2:
        raise ValueError(
            f"{len(accuracies)} accuracies for {design.num_episodes} episodes of {design.num_groups} classes: "
            "as many accuracies as episodes are needed, and two classes or more"
        )
    mean, n = float(np.mean(accuracies)), design.num_episodes
    found = design.components(accuracies - mean)
    weights = design.drawn / n  # of each class's effect in the mean
    variance = found.classes * float(weights @ weights) + found.rest / n
    df = design.num_groups - 1
    half_width = float(special.stdtrit(df, (1 + LEVEL) / 2)) * math.sqrt(variance)
    method = f"Student t, {df} df, from variance components of classes (with their images) and episodes"
    return Interval(mean, half_width, design.num_groups, "classes", OVER_CLASSES, method)
