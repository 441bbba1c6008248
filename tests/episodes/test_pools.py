from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from episodes.sampler import EpisodeSampler, split_labeled
from episodes.spec import EpisodeSpec
from episodes.types import EpisodeError
from numbered_sets import num_distinct, numbered_set

SPEC = EpisodeSpec(way=3, shot=2, num_query=4, num_unlabeled=3, num_distractor=2)


@example([0, 4, 0, 3], 0.5, 0)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.floats(0.001, 0.999), st.integers(0, 2**64 - 1))
def test_the_pools_of_every_class_divide_its_images(sizes: list[int], share: float, seed: int) -> None:
    image_set = numbered_set(sizes)
    labeled, unlabeled = split_labeled(image_set, share, seed)
    for class_id, size in enumerate(sizes):
        parts = [pool.rows[pool.starts[class_id] : pool.starts[class_id + 1]] for pool in (labeled, unlabeled)]
        assert len(parts[0]) == min(size, max(1, round(share * size)))
        first = int(image_set.class_starts[class_id])
        assert sorted(np.concatenate(parts).tolist()) == list(range(first, first + size))
    assert labeled.sizes.sum() + unlabeled.sizes.sum() == sum(sizes)


@pytest.mark.parametrize(("size", "share", "labeled_images"), [(20, 0.1, 2), (600, 0.4, 240)])
def test_the_shares_of_the_paper_give_its_numbers(size: int, share: float, labeled_images: int) -> None:
    """Ren et al. 2018: 10 % of Omniglot's 20, 40 % of miniImageNet's 600 images of a class have labels."""
    labeled, unlabeled = split_labeled(numbered_set([size] * 3), share, seed=0)
    assert labeled.sizes.tolist() == [labeled_images] * 3
    assert unlabeled.sizes.tolist() == [size - labeled_images] * 3


def test_the_division_is_the_same_on_every_machine_and_another_for_another_seed() -> None:
    image_set = numbered_set([4, 6, 5])
    assert split_labeled(image_set, 0.5, seed=0)[0].rows.tolist() == [0, 3, 5, 6, 8, 10, 11]
    assert split_labeled(image_set, 0.5, seed=1001)[0].rows.tolist() == [1, 3, 4, 6, 8, 12, 14]


def test_every_image_is_as_likely_to_be_labeled_and_neighbors_are_independent() -> None:
    image_set = numbered_set([4] * 3)
    times = np.zeros(12)
    pairs = np.zeros((4, 4))
    for seed in range(3000):
        rows = split_labeled(image_set, 0.5, seed)[0].rows
        times[rows] += 1
        pairs[rows[0], rows[1]] += 1
    assert stats.chisquare(times).statistic / (1 - 0.5) * (11 / 12) < stats.chi2.isf(1e-3, 9)
    assert stats.chisquare(pairs[np.triu_indices(4, 1)]).pvalue > 1e-3, "each pair of a class is as likely"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_that_leaves_one_pool_empty_is_refused(share: float) -> None:
    with pytest.raises(EpisodeError, match="the labeled share must lie between 0 and 1"):
        split_labeled(numbered_set([4]), share, seed=0)


def test_supports_and_queries_come_from_the_labeled_pool_and_unlabeled_images_from_the_other() -> None:
    image_set = numbered_set([20, 30, 25, 20, 40, 20])
    labeled, unlabeled = split_labeled(image_set, 0.4, seed=3)
    episode = EpisodeSampler(image_set, SPEC, seed=0, labeled=labeled, unlabeled=unlabeled).batch(0, 200)
    assert episode.unlabeled is not None
    assert set(episode.support.flatten().tolist()) | set(episode.query.flatten().tolist()) == set(labeled.rows.tolist())
    assert set(episode.unlabeled.flatten().tolist()) == set(unlabeled.rows.tolist())
    assert all(num_distinct(row) == row.numel() for row in episode.unlabeled)
    classes = image_set.class_ids[episode.support][..., 0]  # (batch, way)
    of_unlabeled = image_set.class_ids[episode.unlabeled]  # (batch, images)
    assert ((classes[:, :, None] == of_unlabeled[:, None]).sum(-1) == SPEC.num_unlabeled).all()


def test_a_pool_that_is_too_small_is_named_with_what_to_do() -> None:
    image_set = numbered_set([20, 10, 20])
    labeled, unlabeled = split_labeled(image_set, 0.5, seed=0)
    with pytest.raises(
        EpisodeError, match=r"2 shot \+ 4 query .* 'class1' .* has 5 of its 10 in this pool: lower shot"
    ):
        EpisodeSampler(image_set, EpisodeSpec(2, 2, 4), 0, labeled=labeled, unlabeled=unlabeled)
    with pytest.raises(EpisodeError, match=r"6 unlabeled needs 6 .* 'class1' .* lower the number of unlabeled images"):
        EpisodeSampler(image_set, EpisodeSpec(2, 1, 1, 6), 0, labeled=labeled, unlabeled=unlabeled)
