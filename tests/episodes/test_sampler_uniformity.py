"""Are the draws fair? Chi-square tests at fixed seeds, so that they give the same answer at every run."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor

from episodes.sampler import EpisodeSampler, Pool
from episodes.spec import EpisodeSpec
from episodes.types import Episode, ImageSet
from numbered_sets import numbered_set

LEAST_P_VALUE = 1e-3
NUM_CLASSES = 6
IMAGE_SET = numbered_set([5] * NUM_CLASSES)
EPISODES = 6000


def draw(spec: EpisodeSpec, seed: int = 0, image_set: ImageSet = IMAGE_SET) -> Episode:
    return EpisodeSampler(image_set, spec, seed).batch(0, EPISODES)


def assert_uniform(drawn: npt.NDArray[np.int64] | Tensor, num_outcomes: int) -> None:
    """Rows of ``drawn`` are outcomes; all that can happen do, equally often."""
    counts = Counter(map(tuple, np.asarray(drawn).tolist()))
    assert len(counts) == num_outcomes
    assert stats.chisquare(list(counts.values())).pvalue > LEAST_P_VALUE


@pytest.mark.parametrize(("way", "num_outcomes"), [(1, 6), (2, 30), (3, 120), (6, 720)])
def test_every_ordered_choice_of_classes_is_as_likely(way: int, num_outcomes: int) -> None:
    episode = draw(EpisodeSpec(way, 1, 1))
    assert_uniform(IMAGE_SET.class_ids[episode.support[:, :, 0]], num_outcomes)


def test_every_ordered_choice_of_images_is_as_likely() -> None:
    """Shot, query and unlabeled of one class: 5 * 4 * 3 * 2 orders of its images, whatever the class."""
    episode = draw(EpisodeSpec(1, 2, 1, 1))
    assert episode.unlabeled is not None
    rows = torch.cat([episode.support[:, 0], episode.query, episode.unlabeled], dim=1)
    assert_uniform(rows % 5, 5 * 4 * 3 * 2)


def test_images_of_large_and_small_classes_are_fair_within_their_class() -> None:
    sizes = [3, 11, 7]
    image_set = numbered_set(sizes)
    rows = draw(EpisodeSpec(1, 1, 1), image_set=image_set).support.flatten().numpy()
    for first, last in itertools.pairwise(image_set.class_starts):
        inside = rows[(rows >= first) & (rows < last)]
        assert stats.chisquare(np.bincount(inside - first, minlength=last - first)).pvalue > LEAST_P_VALUE
    assert stats.chisquare(np.bincount(np.searchsorted(image_set.class_starts, rows, "right") - 1)).pvalue > 1e-3


def assert_independent(left: Tensor, right: Tensor, num_left: int, num_right: int) -> None:
    table = np.zeros((num_left, num_right))
    np.add.at(table, (left.numpy(), right.numpy()), 1)
    assert stats.chi2_contingency(table).pvalue > LEAST_P_VALUE


def test_neighboring_episodes_and_neighboring_seeds_are_independent() -> None:
    spec = EpisodeSpec(1, 1, 1)
    rows = draw(spec).support.flatten()
    assert_independent(rows[:-1], rows[1:], 30, 30)
    assert_independent(rows, draw(spec, seed=1).support.flatten(), 30, 30)


def test_the_image_drawn_says_nothing_of_the_class_or_of_the_images_of_other_classes() -> None:
    rows = draw(EpisodeSpec(2, 1, 1)).support[:, :, 0]
    assert_independent(IMAGE_SET.class_ids[rows[:, 0]], rows[:, 0] % 5, NUM_CLASSES, 5)
    assert_independent(rows[:, 0] % 5, rows[:, 1] % 5, 5, 5)


QUERY_SPEC = EpisodeSpec(way=3, shot=1, num_query=2)


def test_every_order_of_the_queries_labels_is_as_likely() -> None:
    """6! / (2! 2! 2!) = 90 arrangements of the labels 0 0 1 1 2 2."""
    assert_uniform(draw(QUERY_SPEC).labels, 90)


def test_every_class_is_as_frequent_at_every_position() -> None:
    labels = draw(EpisodeSpec(5, 1, 3)).labels
    for position in range(15):
        assert stats.chisquare(labels[:, position].bincount(minlength=5).numpy()).pvalue > LEAST_P_VALUE / 15


def test_an_oracle_that_knows_only_the_positions_guesses_at_chance() -> None:
    """It learns the best guess for each position, and for each label of the query before, on half of the episodes."""
    way, num_query = 5, 3
    labels = draw(EpisodeSpec(way, 1, num_query)).labels
    learned, scored = labels[: EPISODES // 2], labels[EPISODES // 2 :]
    by_position = learned.mode(dim=0).values
    correct = (scored == by_position).double().mean(dim=1)
    assert abs(correct.mean() - 1 / way) < 4 * correct.std() / len(correct) ** 0.5
    repeats = (scored[:, 1:] == scored[:, :-1]).double().mean(dim=1)
    expected = (num_query - 1) / (way * num_query - 1)  # two neighbors of one class in a random order
    assert abs(repeats.mean() - expected) < 4 * repeats.std() / len(repeats) ** 0.5


def test_the_order_of_the_queries_says_nothing_of_the_images() -> None:
    rows = draw(QUERY_SPEC).query
    for position in range(6):
        assert stats.chisquare(rows[:, position].bincount(minlength=30).numpy()).pvalue > LEAST_P_VALUE / 6


def test_unlabeled_images_and_distractors_are_mixed_without_a_pattern() -> None:
    episode = draw(EpisodeSpec(way=2, shot=1, num_query=1, num_unlabeled=1, num_distractor=2))
    assert episode.unlabeled is not None
    of_episode = IMAGE_SET.class_ids[episode.support[:, :, 0]]  # (batch, way)
    same = IMAGE_SET.class_ids[episode.unlabeled][:, :, None] == of_episode[:, None]  # (batch, images, way)
    kind = torch.where(same.any(-1), same.int().argmax(-1), 2)  # 0 or 1: of that class, 2: a distractor
    assert_uniform(kind, 12)  # 4! / 2! arrangements of 0 1 2 2


def test_with_pools_the_unlabeled_draw_is_fair_and_independent_of_the_support() -> None:
    image_set, rows = numbered_set([6] * 4), np.arange(24)
    labeled, unlabeled = (Pool(rows[half], np.arange(5) * 3) for half in (rows % 2 == 0, rows % 2 == 1))
    sampler = EpisodeSampler(image_set, EpisodeSpec(1, 1, 1, 1), 0, labeled=labeled, unlabeled=unlabeled)
    episode = sampler.batch(0, EPISODES)
    assert episode.unlabeled is not None
    assert_uniform(torch.cat([episode.support[:, 0], episode.query, episode.unlabeled], dim=1) % 6, 3 * 2 * 3)
