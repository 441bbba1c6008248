from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.statistics.intervals import CI95_FORMULA, Interval, interval_over_episodes


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_interval_is_that_of_the_formula_it_states(accuracies: list[float]) -> None:
    assert "1.96 * s / sqrt(n)" in CI95_FORMULA
    assert "ddof 1" in CI95_FORMULA
    n = len(accuracies)
    mean = sum(accuracies) / n
    deviation = math.sqrt(sum((accuracy - mean) ** 2 for accuracy in accuracies) / (n - 1))
    interval = interval_over_episodes(np.asarray(accuracies))
    assert interval.n == n
    assert interval.mean == pytest.approx(mean, abs=1e-12)
    assert interval.ci95 == pytest.approx(1.96 * deviation / math.sqrt(n), abs=1e-9)


def test_the_interval_covers_the_truth_in_95_of_100_experiments() -> None:
    generator = np.random.default_rng(0)
    truth, num_queries = 0.7, 75
    covered = 0
    for _ in range(2000):
        interval = interval_over_episodes(generator.binomial(num_queries, truth, size=100) / num_queries)
        covered += abs(interval.mean - truth) <= interval.ci95
    assert 0.93 < covered / 2000 < 0.965


def test_one_episode_says_nothing_of_the_spread_and_none_says_nothing_at_all() -> None:
    assert interval_over_episodes(np.asarray([0.6])) == Interval(0.6, math.inf, 1)
    with pytest.raises(ValueError, match="no episodes"):
        interval_over_episodes(np.asarray([]))


def test_percent_shows_two_decimals() -> None:
    assert Interval(0.988149, 0.00055, 10_000).percent() == "98.81 ± 0.06 %"
    assert Interval(1.0, 0.0, 2).percent() == "100.00 ± 0.00 %"
