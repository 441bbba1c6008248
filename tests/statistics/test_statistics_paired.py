from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fewshot.statistics.paired import (
    Rank,
    holm,
    paired_difference,
    pairwise_p,
    ranks_with_ties,
)


def pairs(count: int, gap: float = 0.0, seed: int = 0, noise: float = 0.03) -> list[np.ndarray]:
    """Two methods, one training each, whose accuracies share the difficulty of the episode: two of (1, episodes)."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(0.7, 0.1, (1, count))
    return [
        difficulty + gap + generator.normal(0, noise, (1, count)),
        difficulty + generator.normal(0, noise, (1, count)),
    ]


def trained(
    of_seeds: tuple[float, ...], seeds: int, generator: np.random.Generator, gap: float = 0.0, episodes: int = 300
) -> list[np.ndarray]:
    """Methods of several trainings each, which differ by ``of_seeds``; each is better than the one before by ``gap``.

    The standard error of a difference over the episodes is 0.003.
    """
    difficulty = generator.normal(0.6, 0.1, episodes)
    return [
        difficulty
        + place * gap
        + generator.normal(0, deviation, (seeds, 1))
        + generator.normal(0, 0.03, episodes)
        + generator.normal(0, 0.02, (seeds, episodes))
        for place, deviation in enumerate(of_seeds)
    ]


def test_the_paired_test_and_interval_are_scipys() -> None:
    first, second = (row[0] for row in pairs(80, 0.01))
    found, of_scipy = paired_difference([first[None], second[None]]), stats.ttest_rel(first, second)
    assert found.p == pytest.approx(of_scipy.pvalue)
    interval = of_scipy.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.effect_size == pytest.approx(np.mean(first - second) / np.std(first - second, ddof=1))


def test_wins_ties_and_losses_are_counted_whatever_the_rounding() -> None:
    first, second = np.asarray([0.1 + 0.2, 0.5, 0.7, 0.9]), np.asarray([0.3, 0.6, 0.6, 0.8])
    found = paired_difference([first[None], second[None]])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert first[0] == 0.1 + 0.2, "the numbers given are left alone"


def test_the_paired_interval_covers_the_truth_and_the_test_claims_5_of_100_where_there_is_nothing() -> None:
    found = [paired_difference(pairs(50, seed=seed)) for seed in range(2000)]
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.05, abs=0.01)
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.01)


def test_the_detectable_difference_is_found_in_80_of_100_experiments() -> None:
    detectable = float(np.mean([paired_difference(pairs(50, seed=seed)).detectable for seed in range(100)]))
    found = [paired_difference(pairs(50, detectable, seed=seed)).p < 0.05 for seed in range(500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_pairing_sees_what_separate_intervals_cannot() -> None:
    both = pairs(200, 0.015)
    found = paired_difference(both)
    assert found.low > 0
    unpaired = stats.ttest_ind(both[0][0], both[1][0], equal_var=False).pvalue
    assert found.p < 1e-3 < 0.05 < unpaired


def test_equal_methods_are_equal_and_a_constant_difference_is_certain() -> None:
    same = np.linspace(0, 1, 30)
    equal = paired_difference([same[None], same[None]])
    assert (equal.mean, equal.p, equal.effect_size) == (0, 1, 0)
    certain = paired_difference([np.ones((1, 10)), np.zeros((1, 10))])
    assert (certain.p, certain.effect_size) == (0, math.inf)


def test_episodes_that_are_not_the_same_number_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="5 and 4 episodes cannot be paired"):
        paired_difference([np.ones((1, 5)), np.ones((1, 4))])


def test_holm_is_the_step_down_of_the_paper() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    by_hand = [max(3 * 0.01, 4 * 0.005), 0.06, max(2 * 0.03, 0.03), 4 * 0.005]  # 0.04 * 1 is below 0.06
    assert holm(p_values).tolist() == pytest.approx(by_hand)
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_holm_keeps_false_claims_among_many_comparisons_rare() -> None:
    generator = np.random.default_rng(3)
    claims = sum(bool((pairwise_p(list(generator.normal(0.7, 0.1, (5, 1, 100)))) < 0.05).any()) for _ in range(1000))
    assert claims / 1000 < 0.06


def test_all_pairs_at_once_are_the_pairs_one_by_one() -> None:
    of_one_training = [*pairs(60, 0.01), pairs(60, seed=8)[0]]
    of_several = trained((0.0, 0.01, 0.02), 3, np.random.default_rng(0), gap=0.03)
    for three in (of_one_training, of_several):
        one_by_one = [paired_difference(three, i, j).p for i, j in ((0, 1), (0, 2), (1, 2))]
        found = pairwise_p(three)
        assert found[[0, 0, 1], [1, 2, 2]].tolist() == pytest.approx(holm(one_by_one).tolist(), rel=1e-5)
        assert (found == found.T).all()
        assert pairwise_p([three[0], three[0]])[0, 1] == 1


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("of_seeds", [(0.0, 0.0), (0.005, 0.005), (0.02, 0.02), (0.003, 0.03)])
def test_two_methods_of_several_seeds_are_told_apart_in_5_of_100_experiments_at_most(
    seeds: int, of_seeds: tuple[float, float]
) -> None:
    """Seeds and episodes together; the test over episodes alone, of the means over seeds, claims 40 of 100 and more."""
    generator = np.random.default_rng([seeds, *(round(1000 * deviation) for deviation in of_seeds)])
    found, of_episodes = [], []
    for _ in range(600):
        rows = trained(of_seeds, seeds, generator)
        found.append(paired_difference(rows))
        of_episodes.append(paired_difference([row.mean(axis=0, keepdims=True) for row in rows]).p < 0.05)
    claims = np.mean([one.p < 0.05 for one in found])
    assert claims <= 0.065
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(1 - claims)
    if max(of_seeds) >= 0.02:
        assert np.mean(of_episodes) > 0.4


@pytest.mark.parametrize("deviations", [[0.01] * 10, [0.004, 0.006, 0.01, 0.015, 0.025] * 2, [0.05] + [0.01] * 9])
def test_a_table_of_ten_methods_holds_a_false_claim_in_5_of_100_experiments(deviations: list[float]) -> None:
    """Also where one is much less steady than those that lend it degrees of freedom; and one has one training."""
    generator, claims = np.random.default_rng(0), []
    for _ in range(300):
        rows = trained(tuple(deviations), 3, generator)
        rows[-1] = rows[-1][:1]
        claims.append(bool((pairwise_p(rows) < 0.05).any()))
    assert np.mean(claims) <= 0.08


def test_three_seeds_find_what_is_far_beyond_seeds_and_episodes() -> None:
    generator, separate = np.random.default_rng(0), []
    for _ in range(30):
        ranks = ranks_with_ties(trained((0.004,) * 10, 3, generator, gap=0.03))
        separate.append(np.mean([rank.best == rank.worst for rank in ranks]))
    assert np.mean(separate) > 0.9
    alone = pairwise_p(trained((0.004,) * 10, 3, generator, gap=0.03)[:2])
    assert alone[0, 1] > 0.05 / 45, "with two rows and four degrees of freedom that would be out of reach"


def test_seeds_are_not_paired() -> None:
    """Other seeds in another order give the same difference."""
    first, second = trained((0.01, 0.01), 3, np.random.default_rng(0))
    assert paired_difference([first, second]).p == pytest.approx(paired_difference([first, second[::-1]]).p)
    assert paired_difference([first, second]).p != pytest.approx(paired_difference([first[:2], second]).p)


def test_methods_that_no_test_separates_share_their_ranks() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0.7, 0.1, 500)
    gaps = (0.0, 0.1, 0.0999, 0.2)
    ranks = ranks_with_ties([(difficulty + gap + generator.normal(0, 0.02, 500))[None] for gap in gaps])
    assert ranks == [Rank(4, 4), Rank(2, 3), Rank(2, 3), Rank(1, 1)]
    assert [str(rank) for rank in ranks] == ["4", "2–3", "2–3", "1"]
    assert ranks_with_ties([np.asarray([[0.5]]), np.asarray([[0.9]])]) == [Rank(1, 2)] * 2, (
        "one episode separates nothing"
    )
