from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fewshot.statistics.paired import (
    Rank,
    holm,
    minimum_detectable_difference,
    paired_difference,
    pairwise_p,
    ranks_with_ties,
)


def pairs(count: int, gap: float = 0.0, seed: int = 0, noise: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Two methods whose accuracies share the difficulty of the episode."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(0.7, 0.1, count)
    return difficulty + gap + generator.normal(0, noise, count), difficulty + generator.normal(0, noise, count)


def test_the_paired_test_and_interval_are_scipys() -> None:
    first, second = pairs(80, 0.01)
    found, of_scipy = paired_difference(first, second), stats.ttest_rel(first, second)
    assert found.p == pytest.approx(of_scipy.pvalue)
    interval = of_scipy.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.effect_size == pytest.approx(np.mean(first - second) / np.std(first - second, ddof=1))


def test_wins_ties_and_losses_are_counted_whatever_the_rounding() -> None:
    first, second = np.asarray([0.1 + 0.2, 0.5, 0.7, 0.9]), np.asarray([0.3, 0.6, 0.6, 0.8])
    found = paired_difference(first, second)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert first[0] == 0.1 + 0.2, "the numbers given are left alone"


def test_the_paired_interval_covers_the_truth_and_the_test_claims_5_of_100_where_there_is_nothing() -> None:
    found = [paired_difference(*pairs(50, seed=seed)) for seed in range(2000)]
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.05, abs=0.01)
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.01)


def test_the_detectable_difference_is_found_in_80_of_100_experiments() -> None:
    detectable = minimum_detectable_difference(0.03 * math.sqrt(2), 50)
    found = [paired_difference(*pairs(50, detectable, seed=seed)).p < 0.05 for seed in range(500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_pairing_sees_what_separate_intervals_cannot() -> None:
    first, second = pairs(200, 0.015)
    found = paired_difference(first, second)
    assert found.low > 0
    unpaired = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert found.p < 1e-3 < 0.05 < unpaired


def test_equal_methods_are_equal_and_a_constant_difference_is_certain() -> None:
    same = np.linspace(0, 1, 30)
    equal = paired_difference(same, same)
    assert (equal.mean, equal.p, equal.effect_size) == (0, 1, 0)
    certain = paired_difference(np.ones(10), np.zeros(10))
    assert (certain.p, certain.effect_size) == (0, math.inf)


def test_episodes_that_are_not_the_same_number_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="5 and 4 episodes cannot be paired"):
        paired_difference(np.ones(5), np.ones(4))


def test_holm_is_the_step_down_of_the_paper() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    by_hand = [max(3 * 0.01, 4 * 0.005), 0.06, max(2 * 0.03, 0.03), 4 * 0.005]  # 0.04 * 1 is below 0.06
    assert holm(p_values).tolist() == pytest.approx(by_hand)
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_holm_keeps_false_claims_among_many_comparisons_rare() -> None:
    generator = np.random.default_rng(3)
    claims = sum(bool((pairwise_p(generator.normal(0.7, 0.1, (5, 100))) < 0.05).any()) for _ in range(1000))
    assert claims / 1000 < 0.06


def test_all_pairs_at_once_are_the_pairs_one_by_one() -> None:
    first, second = pairs(60, 0.01)
    three = np.stack([first, second, pairs(60, seed=8)[0]])
    one_by_one = [paired_difference(three[i], three[j]).p for i, j in ((0, 1), (0, 2), (1, 2))]
    found = pairwise_p(three)
    assert found[[0, 0, 1], [1, 2, 2]].tolist() == pytest.approx(holm(one_by_one).tolist())
    assert (found == found.T).all()
    assert pairwise_p(np.stack([first, first]))[0, 1] == 1


def test_methods_that_no_test_separates_share_their_ranks() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0.7, 0.1, 500)
    gaps = (0.0, 0.1, 0.0999, 0.2)
    ranks = ranks_with_ties(np.stack([difficulty + gap + generator.normal(0, 0.02, 500) for gap in gaps]))
    assert ranks == [Rank(4, 4), Rank(2, 3), Rank(2, 3), Rank(1, 1)]
    assert [str(rank) for rank in ranks] == ["4", "2–3", "2–3", "1"]
    assert ranks_with_ties(np.asarray([[0.5], [0.9]])) == [Rank(1, 2)] * 2, "one episode separates nothing"
