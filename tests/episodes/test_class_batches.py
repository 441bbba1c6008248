from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from episodes.sampler import ClassBatchSampler
from episodes.types import EpisodeError
from numbered_sets import num_distinct, numbered_set


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.data(), st.integers(0, 50))
def test_every_epoch_holds_each_image_once_but_for_the_remainder(
    sizes: list[int], data: st.DataObject, epoch: int
) -> None:
    image_set = numbered_set(sizes)
    batch_size = data.draw(st.integers(1, sum(sizes)))
    sampler = ClassBatchSampler(image_set, batch_size, seed=3)
    per_epoch = sum(sizes) // batch_size
    batches = [sampler.batch(epoch * per_epoch + position) for position in range(per_epoch)]
    rows = torch.cat([rows for rows, _ in batches])
    assert [len(rows) for rows, _ in batches] == [batch_size] * per_epoch
    assert num_distinct(rows) == rows.numel() == per_epoch * batch_size
    for chosen, labels in batches:
        assert torch.equal(labels, image_set.class_ids[chosen])


def test_epochs_differ_and_every_image_is_left_out_as_often() -> None:
    sampler = ClassBatchSampler(numbered_set([4, 3]), 3, seed=0)
    orders = {
        tuple(torch.cat([sampler.batch(2 * epoch)[0], sampler.batch(2 * epoch + 1)[0]]).tolist())
        for epoch in range(2000)
    }
    assert len(orders) > 1000
    left_out = [set(range(7)).difference(order).pop() for order in orders]
    assert stats.chisquare(np.bincount(left_out, minlength=7)).pvalue > 1e-3


@pytest.mark.parametrize("per_class", [None, 2])
def test_a_batch_depends_on_seed_and_index_alone(per_class: int | None) -> None:
    image_set = numbered_set([5, 6, 7, 8])
    sampler = ClassBatchSampler(image_set, 6, seed=1, per_class=per_class)
    indices = [0, 1, 2, 9, 2**33]
    in_order = [sampler.batch(index)[0].tolist() for index in indices]
    assert [sampler.batch(index)[0].tolist() for index in reversed(indices)] == in_order[::-1]
    fresh = [ClassBatchSampler(image_set, 6, seed=1, per_class=per_class).batch(index)[0].tolist() for index in indices]
    assert fresh == in_order
    other = ClassBatchSampler(image_set, 6, seed=2, per_class=per_class)
    assert [other.batch(index)[0].tolist() for index in indices] != in_order
    assert len({tuple(rows) for rows in in_order}) == len(indices)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**40))
def test_a_balanced_batch_holds_p_classes_with_k_images_each(
    classes: int, per_class: int, spare: int, index: int
) -> None:
    image_set = numbered_set([per_class + extra % 3 for extra in range(classes + spare)])
    sampler = ClassBatchSampler(image_set, classes * per_class, seed=0, per_class=per_class)
    rows, labels = sampler.batch(index)
    assert rows.dtype == labels.dtype == torch.int64
    assert torch.equal(labels, image_set.class_ids[rows])
    assert num_distinct(rows) == classes * per_class
    assert sorted(count for count in labels.bincount().tolist() if count) == [per_class] * classes


def test_a_balanced_batch_is_fair_to_classes_and_images() -> None:
    sampler = ClassBatchSampler(numbered_set([4] * 5), 4, seed=0, per_class=2)
    rows = torch.stack([sampler.batch(index)[0] for index in range(3000)])
    assert stats.chisquare(rows[:, 0].bincount(minlength=20).numpy()).pvalue > 1e-3
    assert stats.chisquare(rows[:, 3].bincount(minlength=20).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("batch_size", "per_class", "message"),
    [
        (0, None, "a batch of 0 images cannot be drawn from 12"),
        (13, None, "a batch of 13 images cannot be drawn from 12"),
        (7, 2, "a batch of 7 images cannot hold 2 images of each class"),
        (6, 0, "a batch of 6 images cannot hold 0 images of each class"),
        (10, 5, "a batch needs 5 images of each class; class 'class1' of numbers train has 3: lower the images per"),
        (8, 2, "a batch of 8 images, 2 of each class, needs 4 classes and numbers train has 3"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_at_once(batch_size: int, per_class: int | None, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        ClassBatchSampler(numbered_set([5, 3, 4]), batch_size, seed=0, per_class=per_class)


def test_one_image_of_each_class_needs_no_second_one() -> None:
    rows, labels = ClassBatchSampler(numbered_set([1, 1, 1]), 3, seed=0, per_class=1).batch(0)
    assert sorted(rows.tolist()) == [0, 1, 2]
    assert rows.tolist() == labels.tolist()


def test_a_negative_index_is_refused() -> None:
    for per_class in (None, 2):
        with pytest.raises(ValueError, match="indices count from 0"):
            ClassBatchSampler(numbered_set([5, 3, 4]), 4, seed=0, per_class=per_class).batch(-1)
