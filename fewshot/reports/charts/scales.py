"""From numbers to pixels, and where to put the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["linear", "log", "time", "errors"]

_LEAST_ERROR = 2e-4
_AIR = 1.25  # how far a logarithmic axis goes beyond what it shows
_MINUTE, _HOUR = 60.0, 3600.0
_TIMES = (
    *(1.0, 3.0, 10.0, 30.0, _MINUTE, 2 * _MINUTE, 3 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 20 * _HOUR, 50 * _HOUR, 100 * _HOUR),
)
_ERROR_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8))


@dataclass(frozen=True)
class Scale:
    """``low`` to ``high`` on ``start`` to ``end`` pixels.

    ``errors`` is for accuracies: halving the errors is one step, whether from 40 % or from 1 %, so that models near
    100 % are told apart. ``time`` is logarithmic with ticks at round times, in seconds.
    """

    low: float
    high: float
    start: float
    end: float
    kind: Kind = "linear"

    def __call__(self, value: float) -> float:
        """Where ``value`` lies, in pixels."""
        bottom, top = _bent(self.low, self.kind), _bent(self.high, self.kind)
        return self.start + (_bent(value, self.kind) - bottom) / (top - bottom) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers inside, ``most`` of them at the most."""
        if self.kind == "time":
            inside = [seconds for seconds in _TIMES if self.low <= seconds <= self.high]
            return inside[:: -(-len(inside) // most)] if len(inside) > 1 else [self.low * _AIR, self.high / _AIR]
        if self.kind == "log":
            return _log_ticks(self.low, self.high, most) or [self.low * _AIR]
        if self.kind == "errors":
            return _accuracy_ticks(self, most)
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(step * index, 10) for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def accuracy_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that holds these accuracies with some air: by errors where any exceeds 90 %, linear else."""
    low, high = min(values), max(values)
    if high <= 0.9:
        air = max(0.01, 0.06 * (high - low))
        return Scale(max(0.0, low - air), min(1.0, high + air), start, end)
    least_error = max(_LEAST_ERROR, 0.75 * (1 - high))
    return Scale(1 - min(1.0, 1.25 * (1 - low) + 1e-3), 1 - least_error, start, end, "errors")


def log_scale(values: Sequence[float], start: float, end: float, kind: Kind = "log") -> Scale:
    """A logarithmic scale that holds these positive numbers with some air."""
    low, high = min(values), max(values)
    return Scale(low / _AIR, high * _AIR, start, end, kind)


def percent(accuracy: float, digits: int = 2) -> str:
    """``99.5 %``: as many digits as it needs, ``digits`` at the most."""
    text = f"{100 * accuracy:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def signed(points: float, digits: int = 2) -> str:
    """``+0.31`` or ``−0.31``, with a minus as long as the plus."""
    return f"{points:+.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """``0.2 s``, ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 9.5:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f}".removesuffix(".0") + " h"


def _bent(value: float, kind: Kind) -> float:
    if kind in ("log", "time"):
        return math.log10(value)
    if kind == "errors":
        return -math.log10(max(1 - value, _LEAST_ERROR / 2))
    return value


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9)))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(factor * 10.0**power) for power in powers for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= most:
            return inside
    return inside


def _accuracy_ticks(scale: Scale, most: int) -> list[float]:
    """Accuracies whose errors are round: coarse steps, finer ones where fewer than four fit."""
    for steps in _ERROR_STEPS:
        errors = (step * 10.0**power for power in range(-1, -6, -1) for step in reversed(steps))
        inside = [round(1 - error, 9) for error in errors if scale.low <= 1 - error <= scale.high]
        if len(inside) >= 4:
            break
    return _far_apart(inside, scale, abs(scale.end - scale.start) / (most + 2))


def _far_apart(values: Sequence[float], scale: Scale, gap: float) -> list[float]:
    """From the top down, those that lie ``gap`` pixels or more from the last one kept."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or abs(scale(value) - scale(kept[-1])) >= gap:
            kept.append(value)
    return kept[::-1]
