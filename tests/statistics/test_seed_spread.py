from __future__ import annotations

import numpy as np
import pytest

from fewshot.statistics.seed_spread import seed_spread


def rows_of(deviations: list[float], seeds: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Rows (seeds, 600 episodes) whose trainings differ by so much."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(0.7, 0.09, 600)
    of_seeds = (generator.normal(0, deviation, (seeds, 1)) for deviation in deviations)
    return [of_row + shared + generator.normal(0, 0.04, (seeds, 600)) for of_row in of_seeds]


def test_rows_of_one_training_leave_nothing_to_estimate() -> None:
    spread = seed_spread(rows_of([0.01, 0.01], seeds=1))
    assert spread.variances.tolist() == [0, 0]


def test_two_rows_keep_the_variances_that_they_have() -> None:
    rows = rows_of([0.002, 0.02])
    spread = seed_spread(rows)
    assert spread.variances == pytest.approx([row.mean(axis=1).var(ddof=1) / 3 for row in rows])
    assert spread.df.tolist() == [2, 2]
    assert spread.most_df == 4


def test_many_rows_lend_each_other_degrees_of_freedom_and_make_no_variance_smaller() -> None:
    rows = rows_of([0.01] * 20)
    spread = seed_spread(rows)
    own = np.array([row.mean(axis=1).var(ddof=1) / 3 for row in rows])
    assert (spread.variances >= own - 1e-15).all()
    assert spread.variances.min() > 10 * own.min(), "one that agrees by chance is not taken for a steady one"
    assert (spread.df > 8).all()


def test_where_rows_differ_much_they_lend_each_other_little() -> None:
    alike = seed_spread(rows_of([0.01] * 20)).df.max()
    unlike = seed_spread(rows_of([0.001 * 2**place for place in range(0, 10)] * 2)).df.max()
    assert unlike < 5 < alike


def test_in_a_long_table_steadiness_follows_the_accuracy_and_its_rows_are_still_alike() -> None:
    """Episodes from 0.01 to 0.1, trainings by the square of it: near the top rows are steadier, in a common way."""
    generator, rows = np.random.default_rng(0), []
    for of_episodes in np.geomspace(0.01, 0.1, 20):
        of_seeds = generator.normal(0, 2 * of_episodes**2, (3, 1))
        rows.append(0.9 + of_seeds + generator.normal(0, of_episodes, 600) + generator.normal(0, 1e-5, (3, 600)))
    spread = seed_spread(rows)
    assert np.median(spread.df) > 10
    assert spread.variances[0] < 0.01 * spread.variances[-1], "no prior of the others is put upon the steadiest"
    assert np.median(seed_spread(rows[::3]).df) < 5, "seven rows are too few to see it"


def test_a_row_of_one_training_borrows_what_the_others_have() -> None:
    *others, one = rows_of([0.01] * 10)
    spread = seed_spread([*others, one[:1]])
    assert spread.variances[-1] == pytest.approx(3 * spread.variances[:-1].mean(), rel=0.2)


def test_rows_whose_seeds_agree_to_the_last_query_have_no_spread() -> None:
    perfect = [np.ones((3, 600)) for _ in range(4)]
    assert seed_spread(perfect).variances.max() < 1e-12
