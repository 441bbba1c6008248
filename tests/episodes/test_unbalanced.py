"""Episodes whose classes differ in their number of queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from episodes.draws import dirichlet_counts
from episodes.errors import EpisodeError
from episodes.sampler import EpisodeSampler, split_labeled
from episodes.spec import EpisodeSpec
from toy_classes import toy_set

BALANCED = EpisodeSpec(4, 2, 5)
UNBALANCED = replace(BALANCED, dirichlet=2)
IMAGES = toy_set(6, 30)


def counts_of(sampler: EpisodeSampler, num_episodes: int) -> np.ndarray:
    labels = sampler.batch(0, num_episodes).labels.numpy()
    return np.stack([(labels == label).sum(1) for label in range(sampler.spec.way)], axis=1)


def rounded(shares: np.ndarray, total: int) -> Iterator[int]:
    """The largest remainders get what the whole parts leave."""
    counts = np.floor(shares * total)
    for index in np.argsort(counts - shares * total)[: round(total - counts.sum())]:
        counts[index] += 1
    return (int(count) for count in counts)


@pytest.mark.parametrize("concentration", [1, 2, 5])
def test_shares_are_of_a_dirichlet_distribution(concentration: int) -> None:
    """Each share alone is of a beta distribution, and of them all the variance is that of the distribution."""
    way, total = 5, 1_000_000
    shares = dirichlet_counts(3, np.arange(4000), way, total, concentration) / total
    assert np.array_equal(shares.sum(1).round(9), np.ones(4000))
    for column in shares.T:
        assert kstest(column, "beta", (concentration, concentration * (way - 1))).pvalue > 1e-4
    covariance = -1 / (way**2 * (way * concentration + 1))
    assert abs(np.cov(shares[:, 0], shares[:, 3])[0, 1] - covariance) < abs(covariance) / 4


def test_counts_are_rounded_by_the_largest_remainders() -> None:
    fine = dirichlet_counts(0, np.arange(500), 5, 10**9, 2) / 1e9
    assert [tuple(row) for row in dirichlet_counts(0, np.arange(500), 5, 75, 2)] == [
        tuple(rounded(s, 75)) for s in fine
    ]


def test_an_unbalanced_episode_has_as_many_queries_and_all_are_distinct() -> None:
    sampler = EpisodeSampler(IMAGES, UNBALANCED, 0)
    episode, counts = sampler.batch(0, 300), counts_of(sampler, 300)
    assert (counts.sum(1) == 20).all()
    assert np.array_equal(counts, dirichlet_counts(0, np.arange(300), 4, 20, 2))
    assert len(np.unique(counts)) > 10
    assert (counts == 0).any()
    drawn = np.concatenate([episode.support.flatten(1).numpy(), episode.query.numpy()], axis=1)
    assert all(len(np.unique(row)) == len(row) for row in drawn)
    classes = IMAGES.class_ids[episode.support[:, :, 0]]
    assert (IMAGES.class_ids[episode.query] == classes.gather(1, episode.labels)).all()


def test_classes_and_first_support_are_those_of_the_balanced_episodes() -> None:
    balanced, unbalanced = (EpisodeSampler(IMAGES, spec, 5).batch(0, 50) for spec in (BALANCED, UNBALANCED))
    ids = [IMAGES.class_ids[episode.support[:, :, 0]] for episode in (balanced, unbalanced)]
    assert (ids[0] == ids[1]).all()


def test_an_episode_is_a_function_of_its_number_alone() -> None:
    sampler = EpisodeSampler(IMAGES, UNBALANCED, 7)
    whole, part = sampler.batch(0, 20), sampler.batch(13, 3)
    assert (whole.query[13:16] == part.query).all()
    assert (whole.labels[13:16] == part.labels).all()
    assert EpisodeSampler(IMAGES, UNBALANCED, 7).digest(20) == sampler.digest(20) != sampler.digest(21)
    assert EpisodeSampler(IMAGES, replace(UNBALANCED, dirichlet=3), 7).digest(20) != sampler.digest(20)


def test_unlabeled_images_are_none_of_the_queries() -> None:
    spec = replace(UNBALANCED, num_unlabeled=3)
    for pools in ({}, dict(zip(("labeled", "unlabeled"), split_labeled(toy_set(6, 60), 0.5, 0), strict=True))):
        episode = EpisodeSampler(toy_set(6, 60), spec, 0, **pools).batch(0, 100)
        assert episode.unlabeled is not None
        assert not any(set(a.tolist()) & set(b.tolist()) for a, b in zip(episode.unlabeled, episode.query, strict=True))


def test_classes_that_could_run_out_are_refused() -> None:
    EpisodeSampler(toy_set(6, 22), UNBALANCED, 0)
    with pytest.raises(EpisodeError, match=r"2 shot \+ 20 query needs 22 images of each class; class .* has 21"):
        EpisodeSampler(toy_set(6, 21), UNBALANCED, 0)
    with pytest.raises(EpisodeError, match="dirichlet must be a whole number of 1 or more, not 0"):
        replace(BALANCED, dirichlet=0)
