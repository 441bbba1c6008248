from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fewshot.statistics.intervals import (
    CLOSED,
    OVER_SEEDS,
    CoveringInterval,
    bca_interval,
    crowds_at_the_top,
    episode_interval,
    interval_over_episodes,
    seed_interval,
    spread,
)

NEAR_THE_TOP = np.random.default_rng(0).binomial(75, 0.99, 300) / 75


def test_the_interval_over_episodes_is_scipys_t_interval_and_says_what_it_covers() -> None:
    accuracies = np.random.default_rng(1).binomial(75, 0.6, 40) / 75
    interval = episode_interval(accuracies)
    expected = stats.t.interval(0.95, 39, loc=accuracies.mean(), scale=stats.sem(accuracies))
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert (interval.n, interval.unit, interval.covers) == (40, "episodes", CLOSED)
    assert "closed" in interval.covers
    assert "39 df" in interval.method


def test_from_600_episodes_on_it_is_the_interval_that_records_state() -> None:
    accuracies = np.random.default_rng(1).binomial(75, 0.6, 600) / 75
    assert episode_interval(accuracies).half_width == pytest.approx(interval_over_episodes(accuracies).ci95, rel=3e-3)


@pytest.mark.parametrize("num_episodes", [5, 100])
def test_the_interval_covers_the_truth_in_95_of_100_experiments_however_few_the_episodes(num_episodes: int) -> None:
    drawn = np.random.default_rng(0).binomial(75, 0.7, (2000, num_episodes)) / 75
    intervals = [episode_interval(accuracies) for accuracies in drawn]
    covered = np.mean([interval.low <= 0.7 <= interval.high for interval in intervals])
    assert covered == pytest.approx(0.95, abs=0.01)


def test_one_episode_gives_an_infinite_interval_and_none_is_refused() -> None:
    assert episode_interval(np.asarray([0.6])).half_width == math.inf
    for interval in (episode_interval, bca_interval, spread):
        with pytest.raises(ValueError, match="no episodes"):
            interval(np.asarray([]))


def test_few_seeds_take_the_wide_quantile_of_their_own_degrees_of_freedom() -> None:
    means = np.asarray([0.981, 0.984, 0.986])
    interval = seed_interval(means)
    assert interval.half_width == pytest.approx(4.302653 * means.std(ddof=1) / math.sqrt(3), rel=1e-6)
    assert (interval.n, interval.covers) == (3, OVER_SEEDS)
    assert seed_interval(means[:1]).half_width == math.inf


def test_the_bca_interval_is_scipys() -> None:
    interval = bca_interval(NEAR_THE_TOP, resamples=10_000)
    of_scipy = stats.bootstrap(
        (NEAR_THE_TOP,), np.mean, n_resamples=10_000, batch=500, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    width = of_scipy.high - of_scipy.low
    assert interval.low == pytest.approx(of_scipy.low, abs=0.03 * width)
    assert interval.high == pytest.approx(of_scipy.high, abs=0.03 * width)
    assert interval == bca_interval(NEAR_THE_TOP, resamples=10_000), "the same at every call"


def test_the_bca_interval_stays_below_one_where_the_symmetric_one_does_not() -> None:
    accuracies = np.asarray([1.0] * 19 + [0.9])
    assert episode_interval(accuracies).high > 1
    lopsided = bca_interval(accuracies)
    assert lopsided.high <= 1
    assert lopsided.mean - lopsided.low > 1.5 * (lopsided.high - lopsided.mean)
    assert "[" in lopsided.percent()


def test_a_bca_interval_of_equal_episodes_has_no_width() -> None:
    interval = bca_interval(np.ones(50))
    assert (interval.low, interval.high) == (1, 1)


def test_accuracies_crowd_at_the_top_when_most_episodes_are_perfect() -> None:
    assert crowds_at_the_top(np.asarray([1.0, 1.0, 0.9]))
    assert not crowds_at_the_top(np.asarray([1.0, 0.9]))


def test_percentiles_and_the_worst_decile_are_those_of_the_sorted_episodes() -> None:
    accuracies = np.random.default_rng(2).permutation(np.arange(1, 101) / 100)
    found = spread(accuracies)
    assert found.worst_decile == pytest.approx(0.055), "the mean of 0.01 ... 0.10"
    assert (found.percentile5, found.median, found.percentile95) == pytest.approx((0.0595, 0.505, 0.9505))
    assert found.perfect == 0.01
    assert spread(np.asarray([0.4, 0.8])).worst_decile == 0.4


def test_percent_shows_a_half_width_or_two_bounds() -> None:
    symmetric = CoveringInterval(0.5, 0.4, 0.6, 10, "episodes", CLOSED, "")
    assert symmetric.percent() == "50.00 ± 10.00 %"
    assert CoveringInterval(0.9, 0.8, 0.95, 10, "episodes", CLOSED, "").percent() == "90.00 [80.00, 95.00] %"
    assert CoveringInterval(0.9, -math.inf, math.inf, 1, "episodes", CLOSED, "").percent() == "90.00 ± inf %"
