from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from episodes.spec import EPISODE, RUNS, unit_of
from fewshot.statistics.intervals import (
    OVER_BOTH,
    OVER_EPISODES,
    OVER_SEEDS,
    Interval,
    combined_interval,
    episode_interval,
    formula,
    image_interval,
    seed_interval,
    share_interval,
    spread,
    unit_means,
)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_interval_is_that_of_the_formula_it_states(accuracies: list[float]) -> None:
    assert "Student's t with n - 1 df" in formula()
    n = len(accuracies)
    mean = sum(accuracies) / n
    deviation = math.sqrt(sum((accuracy - mean) ** 2 for accuracy in accuracies) / (n - 1))
    interval = episode_interval(np.asarray(accuracies))
    assert interval.n == n
    assert interval.mean == pytest.approx(mean, abs=1e-12)
    assert interval.half_width == pytest.approx(stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n), abs=1e-9)


def test_two_episodes_are_as_uncertain_as_they_are() -> None:
    """6.5 times the normal interval."""
    interval = episode_interval(np.asarray([0.84, 0.88]))
    assert 100 * interval.half_width == pytest.approx(12.7062 * 2, rel=1e-4)
    expected = stats.t.interval(0.95, 1, loc=0.86, scale=stats.sem([0.84, 0.88]))
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert (interval.unit, interval.covers, interval.method) == ("episodes", OVER_EPISODES, "Student t, 1 df")


def test_the_runs_of_one_alphabet_are_one_unit() -> None:
    accuracies = np.random.default_rng(0).uniform(size=20)
    interval = episode_interval(accuracies, unit_of(RUNS))
    assert (interval.n, interval.unit, interval.method) == (10, "alphabets", "Student t, 9 df")
    of_alphabets = accuracies.reshape(10, 2).mean(axis=1)
    assert interval.half_width == pytest.approx(stats.t.ppf(0.975, 9) * stats.sem(of_alphabets))
    assert unit_means(np.asarray([0.0, 1.0, 0.5]), unit_of(RUNS)).tolist() == [0.5, 0.5]
    assert unit_means(accuracies, EPISODE) is accuracies


@pytest.mark.parametrize("num_episodes", [2, 5, 100])
def test_the_interval_covers_the_truth_in_95_of_100_experiments_however_few_the_episodes(num_episodes: int) -> None:
    drawn = np.random.default_rng(0).binomial(75, 0.7, (2000, num_episodes)) / 75
    intervals = [episode_interval(accuracies) for accuracies in drawn]
    covered = np.mean([interval.low <= 0.7 <= interval.high for interval in intervals])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_near_the_top_600_episodes_are_enough_for_the_symmetric_interval() -> None:
    """Why there is no bootstrap here: most episodes are without a mistake, and the interval covers all the same."""
    generator = np.random.default_rng(0)
    drawn = generator.binomial(75, generator.beta(0.995 * 30, 0.005 * 30, (1500, 600))) / 75
    intervals = [episode_interval(accuracies) for accuracies in drawn]
    assert np.mean([interval.low <= 0.995 <= interval.high for interval in intervals]) >= 0.93
    assert np.mean(drawn == 1) > 0.7


def test_one_episode_gives_an_infinite_interval_and_none_is_refused() -> None:
    assert episode_interval(np.asarray([0.6])).half_width == math.inf
    for interval in (episode_interval, spread):
        with pytest.raises(ValueError, match="no episodes"):
            interval(np.asarray([]))


def test_few_seeds_take_the_wide_quantile_of_their_own_degrees_of_freedom() -> None:
    means = np.asarray([0.981, 0.984, 0.986])
    interval = seed_interval(means)
    assert interval.half_width == pytest.approx(4.302653 * means.std(ddof=1) / math.sqrt(3), rel=1e-6)
    assert (interval.n, interval.covers) == (3, OVER_SEEDS)
    assert seed_interval(means[:1]).half_width == math.inf


def crossed(seeds: int, of_seed: float, generator: np.random.Generator, episodes: int = 600) -> np.ndarray:
    """Accuracies (seeds, episodes) around 0.5; trainings differ by ``of_seed``, episodes by 0.09.

    The standard error over episodes is 0.4 points, as with 600 of miniImageNet.
    """
    shared = generator.normal(0, 0.09, episodes)
    return 0.5 + generator.normal(0, of_seed, (seeds, 1)) + shared + generator.normal(0, 0.04, (seeds, episodes))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("of_seed", [0.0, 0.002, 0.005, 0.02])
def test_the_combined_interval_covers_other_seeds_and_episodes(seeds: int, of_seed: float) -> None:
    """95 to 98 of 100, whatever the seeds' share; that over episodes alone covers 30 where seeds matter most."""
    generator = np.random.default_rng([seeds, round(1000 * of_seed)])
    combined, of_episodes = [], []
    for _ in range(1000):
        accuracies = crossed(seeds, of_seed, generator)
        over_episodes = episode_interval(accuracies.mean(axis=0))
        found = combined_interval(over_episodes, seed_interval(accuracies.mean(axis=1)))
        combined.append(found.low <= 0.5 <= found.high)
        of_episodes.append(over_episodes.low <= 0.5 <= over_episodes.high)
    assert 0.94 <= np.mean(combined) <= 0.995
    if of_seed == 0.02:
        assert np.mean(combined) <= 0.97
        assert np.mean(of_episodes) < 0.6


def test_the_combined_interval_is_wider_than_either_and_says_what_it_is_of() -> None:
    accuracies = crossed(3, 0.005, np.random.default_rng(0))
    over_episodes, over_seeds = episode_interval(accuracies.mean(axis=0)), seed_interval(accuracies.mean(axis=1))
    found = combined_interval(over_episodes, over_seeds)
    assert found.half_width**2 == pytest.approx(over_episodes.half_width**2 + over_seeds.half_width**2)
    assert (found.mean, found.n, found.unit, found.covers) == (over_episodes.mean, 3, "training seeds", OVER_BOTH)
    assert "3 seeds (Student t, 2 df), episodes (Student t, 599 df)" in found.method


def test_percentiles_and_the_worst_decile_are_those_of_the_sorted_episodes() -> None:
    accuracies = np.random.default_rng(2).permutation(np.arange(1, 101) / 100)
    found = spread(accuracies)
    assert found.worst_decile == pytest.approx(0.055), "the mean of 0.01 ... 0.10"
    assert (found.percentile5, found.median, found.percentile95) == pytest.approx((0.0595, 0.505, 0.9505))
    assert found.perfect == 0.01
    assert spread(np.asarray([0.4, 0.8])).worst_decile == 0.4


def test_percent_shows_two_decimals() -> None:
    assert Interval(0.988149, 0.00055, 10_000).percent() == "98.81 ± 0.06 %"
    assert Interval(0.9, math.inf, 1).percent() == "90.00 ± inf %"


def test_the_interval_of_a_share_is_wilsons() -> None:
    z, share, n = 1.959964, 0.7, 90
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    assert share_interval(63, 90) == pytest.approx((center - half, center + half), abs=1e-5)
    low, high = share_interval(8, 8)
    assert 0.6 < low < high == 1


def test_the_interval_over_images_names_its_unit() -> None:
    found = image_interval(np.array([0.0, 0.5, 1.0, 0.9]))
    assert (found.n, found.unit, found.mean) == (4, "images", 0.6)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * np.std([0, 0.5, 1, 0.9], ddof=1) / 2)
