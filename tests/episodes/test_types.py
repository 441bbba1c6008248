from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

import shape_checks
from episodes import errors, types
from episodes.datasets.strokes.dataset import Strokes
from episodes.sampler import ClassBatchSampler, EpisodeSampler
from episodes.spec import EpisodeSpec, unit_of
from episodes.types import SPLITS, Episode, EpisodeError, ImageSet, gather
from numbered_sets import number_of, numbered_set

SPEC = EpisodeSpec(way=3, shot=2, num_query=4, num_unlabeled=3, num_distractor=2)


def test_the_splits_are_those_of_classes() -> None:
    assert SPLITS == ("train", "val", "test")


def test_errors_for_users_are_value_errors_wherever_they_are_imported_from() -> None:
    assert types.DataError is errors.DataError
    assert types.EpisodeError is errors.EpisodeError
    for error in (types.DataError, types.EpisodeError):
        assert issubclass(error, errors.UserError)
        assert issubclass(error, ValueError)
    assert not issubclass(errors.Interrupted, errors.UserError)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_a_class_owns_the_rows_between_its_start_and_the_next(sizes: list[int]) -> None:
    image_set = numbered_set(sizes)
    assert image_set.num_classes == len(sizes)
    assert image_set.class_sizes.tolist() == sizes
    assert image_set.class_ids.tolist() == [class_id for class_id, size in enumerate(sizes) for _ in range(size)]
    assert image_set.class_ids.dtype == torch.int64
    assert image_set.image_shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([0, 2, 3], "must be 4 numbers from 0 to 4"),
        ([0, 1, 2, 3], "must be 4 numbers from 0 to 4"),
        ([1, 2, 3, 4], "must be 4 numbers from 0 to 4"),
        ([0, 3, 2, 4], "must not fall"),
    ],
)
def test_starts_that_do_not_fit_the_images_are_refused(starts: list[int], message: str) -> None:
    good = numbered_set([1, 1, 2])
    with pytest.raises(ValueError, match=message):
        replace(good, class_starts=np.asarray(starts, np.int64))


def test_the_pixels_digest_is_the_fingerprint_or_else_the_hash_of_the_bytes() -> None:
    named = numbered_set([2, 3])
    unnamed = replace(named, fingerprint="")
    assert named.pixels_digest == "numbered"
    assert unnamed.pixels_digest == hashlib.sha256(np.arange(5, dtype="<u4").tobytes()).hexdigest()
    turned = replace(unnamed, images=unnamed.images.transpose(2, 3).flip(3))
    assert turned.pixels_digest != unnamed.pixels_digest, "what counts is what the images show, not how they lie"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 1), "way must be 1 or more, not 0"),
        ((1, 0, 1), "shot must be 1 or more, not 0"),
        ((1, 1, 0), "num_query must be 1 or more, not 0"),
        ((1, 1, 1, -1), "num_unlabeled must be 0 or more, not -1"),
        ((1, 1, 1, 1, -1), "num_distractor must be 0 or more, not -1"),
        ((1, 1, 1, 0, 1), "distractor classes need unlabeled images"),
    ],
)
def test_a_spec_that_no_episode_can_have_is_refused(values: tuple[int, ...], message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        EpisodeSpec(*values)


def test_queries_are_counted_over_all_classes() -> None:
    assert SPEC.num_queries == 12


def test_the_nouns_cannot_be_changed() -> None:
    episode = EpisodeSampler(numbered_set([9] * 6), SPEC, seed=0)[0]
    with pytest.raises(FrozenInstanceError):
        episode.labels = episode.query  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        SPEC.way = 5  # type: ignore[misc]


def fields_of(episode: Episode) -> list[list[int]]:
    parts = [episode.support, episode.query, episode.labels]
    return [part.flatten().tolist() for part in parts + ([] if episode.unlabeled is None else [episode.unlabeled])]


@pytest.mark.parametrize("spec", [SPEC, EpisodeSpec(3, 2, 4)])
def test_a_part_of_a_batch_is_those_episodes(spec: EpisodeSpec) -> None:
    sampler = EpisodeSampler(numbered_set([9] * 6), spec, seed=0)
    batch = sampler.batch(10, 8)
    assert len(batch) == 8
    assert fields_of(batch.part(3, 2)) == fields_of(sampler.batch(13, 2))
    assert fields_of(batch.to(torch.device("cpu"))) == fields_of(batch)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(all), st.integers(1, 9))
def test_gather_puts_the_entry_of_each_row_in_the_place_of_the_row(shape: list[int], num_rows: int) -> None:
    images = numbered_set([num_rows]).images
    rows = torch.arange(torch.Size(shape).numel()).reshape(shape) % num_rows
    gathered = gather(images, rows)
    assert gathered.shape == (*shape, 1, 2, 2)
    assert gathered.dtype == torch.uint8
    assert torch.equal(number_of(gathered), rows)


def test_gather_takes_embeddings_as_well_as_images_and_hands_gradients_back() -> None:
    table = torch.arange(12.0).reshape(4, 3).requires_grad_()
    gathered = gather(table, torch.tensor([[1, 3], [1, 0]]))
    assert gathered.tolist() == [[[3.0, 4.0, 5.0], [9.0, 10.0, 11.0]], [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]]
    gathered.sum().backward()  # type: ignore[no-untyped-call]
    assert table.grad is not None
    assert table.grad[:, 0].tolist() == [1.0, 2.0, 0.0, 1.0]


def test_a_row_that_does_not_exist_is_an_error_and_not_another_image() -> None:
    for row in (-1, 5):
        with pytest.raises((IndexError, RuntimeError)):
            gather(numbered_set([5]).images, torch.tensor([row]))


def test_wrong_shapes_and_types_are_caught_while_tests_run() -> None:
    """The import hook of conftest.py is at work: without it each of these would go through."""
    rows = torch.zeros(1, 3, 2, dtype=torch.int64)
    with pytest.raises(jaxtyping.TypeCheckError):
        Episode(support=rows, query=rows[0], labels=rows[0, :2])
    with pytest.raises(jaxtyping.TypeCheckError):
        gather(torch.zeros(4, 3), torch.zeros(2, dtype=torch.int32))
    with pytest.raises(jaxtyping.TypeCheckError):
        ImageSet(torch.zeros(1, 1, 2, 2), np.asarray([0, 1]), ("one",), "floats", "train")


def test_wrong_types_are_caught_where_no_array_is_named() -> None:
    """By the short way of shape_checks.py: arguments, what is returned, fields of a data class."""

    def lying(number: int) -> Iterable[str]:
        return [number]  # type: ignore[list-item]

    def sized(rows: Float[Tensor, "rows dim"], *, dim: float) -> Float[Tensor, "rows rows"]:
        return rows * dim

    of_strings, of_arrays = (shape_checks.by_need(typechecker=shape_checks.check)(one) for one in (lying, sized))
    wrong: list[Callable[[], Any]] = [
        lambda: EpisodeSpec("5", 1, 1),  # type: ignore[arg-type]
        lambda: unit_of(5),  # type: ignore[arg-type]
        lambda: of_strings(1.5),
        lambda: of_strings(1),
        lambda: of_arrays(torch.zeros(2, 3), dim=1),
    ]
    for call in wrong:
        with pytest.raises(jaxtyping.TypeCheckError):
            call()
    assert of_arrays(torch.zeros(3, 3), dim=1).shape == (3, 3), "a whole number where a float is asked for"


def test_what_is_printed_says_in_one_line_what_it_is() -> None:
    image_set = replace(numbered_set([5] * 1200), dataset="omniglot-vinyals-28", split="test")
    shown = "ImageSet(omniglot-vinyals-28 test: 1,200 classes, 6,000 images 1x2x2)"
    assert repr(image_set) == shown
    sampler = EpisodeSampler(image_set, EpisodeSpec(3, 2, 1, 1, 2), seed=7)
    assert repr(sampler) == f"EpisodeSampler(3-way 2-shot, 1 queries a class, seed 7, of {shown})"
    assert repr(sampler.batch(0, 4)) == "Episode(batch of 4: 3-way 2-shot, 3 queries, 5 unlabeled images)"
    batches = ClassBatchSampler(image_set, 8, 0, per_class=4)
    assert repr(batches) == f"ClassBatchSampler(batches of 8, 4 of each class, seed 0, of {shown})"
    assert repr(Strokes()) == "Strokes(strokes-standard-28)"
