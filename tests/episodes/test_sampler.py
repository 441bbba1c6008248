from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from episodes.sampler import LAST_EPISODE, ClassBatchSampler, EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import Episode, EpisodeError, ImageSet, gather
from fewshot.records.protocols import VERSION
from forked import FORKED
from numbered_sets import num_distinct, number_of, numbered_set

FULL = EpisodeSpec(way=3, shot=2, num_query=4, num_unlabeled=3, num_distractor=2)


def rows_of(episode: Episode) -> list[list[int]]:
    """Everything that an episode holds, as plain numbers, episode by episode."""
    parts = [episode.support, episode.query, episode.labels]
    parts += [] if episode.unlabeled is None else [episode.unlabeled]
    return torch.cat([part.flatten(1) for part in parts], dim=1).tolist()


@st.composite
def samplers(draw: st.DrawFn) -> EpisodeSampler:
    """Any spec on a set that barely or amply fits it, with classes of different sizes, any seed."""
    unlabeled = draw(st.integers(0, 3))
    spec = EpisodeSpec(
        way=draw(st.integers(1, 6)),
        shot=draw(st.integers(1, 4)),
        num_query=draw(st.integers(1, 4)),
        num_unlabeled=unlabeled,
        num_distractor=draw(st.integers(0, 3)) if unlabeled else 0,
    )
    needed = spec.shot + spec.num_query + spec.num_unlabeled
    num_classes = spec.way + spec.num_distractor + draw(st.integers(0, 4))
    sizes = draw(st.lists(st.integers(needed, needed + 9), min_size=num_classes, max_size=num_classes))
    return EpisodeSampler(numbered_set(sizes), spec, draw(st.integers(0, 2**64 - 1)))


@given(samplers(), st.integers(1, 5))
def test_the_rows_of_some_episodes_are_all_that_they_draw(sampler: EpisodeSampler, num_episodes: int) -> None:
    drawn: set[int] = set()
    for index in range(num_episodes):
        episode = sampler[index]
        parts = [
            part.flatten().tolist() for part in (episode.support, episode.query, episode.unlabeled) if part is not None
        ]
        assert sum(map(len, parts)) == sampler.spec.num_images
        drawn.update(*parts)
    assert sampler.rows(num_episodes).tolist() == sorted(drawn)


@given(samplers(), st.integers(0, 2**40))
def test_an_episode_is_what_its_spec_says(sampler: EpisodeSampler, index: int) -> None:
    spec, class_ids = sampler.spec, sampler.image_set.class_ids
    episode = sampler[index]
    assert episode.support.shape == (1, spec.way, spec.shot)
    assert episode.query.shape == episode.labels.shape == (1, spec.num_queries)
    classes = class_ids[episode.support[0]]  # (way, shot)
    assert (classes == classes[:, :1]).all(), "a row of the way axis holds one class"
    assert num_distinct(classes[:, 0]) == spec.way, "classes are distinct"
    assert torch.equal(class_ids[episode.query], classes[:, 0][episode.labels]), "a label names the query's class"
    assert episode.labels[0].bincount(minlength=spec.way).tolist() == [spec.num_query] * spec.way
    drawn = [episode.support.flatten(), episode.query.flatten()]
    if spec.num_unlabeled == 0:
        assert episode.unlabeled is None
    else:
        assert episode.unlabeled is not None
        assert episode.unlabeled.shape == (1, (spec.way + spec.num_distractor) * spec.num_unlabeled)
        per_class = class_ids[episode.unlabeled[0]].bincount(minlength=sampler.image_set.num_classes)
        assert (per_class[classes[:, 0]] == spec.num_unlabeled).all()
        assert (per_class > 0).sum() == spec.way + spec.num_distractor, "distractors are classes outside the episode"
        assert set(per_class.tolist()) <= {0, spec.num_unlabeled}
        drawn.append(episode.unlabeled.flatten())
    rows = torch.cat(drawn)
    assert num_distinct(rows) == rows.numel(), "support, query and unlabeled share no image"


@given(samplers(), st.integers(0, 1000), st.integers(1, 40), st.integers(1, 17))
def test_an_episode_is_the_same_alone_and_in_batches_of_any_size(
    sampler: EpisodeSampler, first: int, count: int, batch_size: int
) -> None:
    whole = rows_of(sampler.batch(first, count))
    assert whole == [rows_of(sampler[first + index])[0] for index in range(count)]
    assert whole == [row for part in sampler.batches(count, batch_size, first) for row in rows_of(part)]


def test_the_order_of_asking_does_not_matter() -> None:
    sampler = EpisodeSampler(numbered_set([20] * 12), FULL, seed=4)
    forwards = [rows_of(sampler[index]) for index in range(10)]
    assert [rows_of(sampler[index]) for index in reversed(range(10))] == forwards[::-1]


def rows_in_another_process(first: int, count: int) -> list[list[int]]:
    return rows_of(EpisodeSampler(numbered_set([20] * 12), FULL, seed=4).batch(first, count))


def test_other_processes_draw_the_same_episodes() -> None:
    expected = rows_in_another_process(0, 8)
    with ProcessPoolExecutor(2, mp_context=FORKED) as pool:
        parts = list(pool.map(rows_in_another_process, (0, 3), (3, 5)))
    assert parts[0] + parts[1] == expected


def next_global_numbers(seed: int, draw: Callable[[], object]) -> tuple[float, float, float]:
    """What the global generators give after ``draw``, seeded before it."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    draw()
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_global_random_state_is_neither_read_nor_moved() -> None:
    sampler = EpisodeSampler(numbered_set([20] * 12), FULL, seed=4)
    drawn: list[list[list[int]]] = []
    for seed in (0, 1):
        untouched = next_global_numbers(seed, lambda: None)
        assert next_global_numbers(seed, lambda: drawn.append(rows_of(sampler.batch(0, 5)))) == untouched
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_episode_is_the_same_on_every_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    image_set = numbered_set([20] * 12)
    episode = EpisodeSampler(image_set, FULL, seed=4).batch(0, 8)
    there = episode.to(torch.device(device))
    assert there.support.device.type == device
    assert rows_of(there) == rows_of(episode)
    assert torch.equal(number_of(gather(image_set.images.to(device), there.query).cpu()), episode.query)


def test_indices_and_seeds_beyond_32_bits_give_their_own_episodes() -> None:
    image_set = numbered_set([20] * 12)
    seeds, indices = (0, 1, 2**32, 2**63), (0, 1, 2**32, 2**40)
    drawn = {tuple(rows_of(EpisodeSampler(image_set, FULL, seed)[index])[0]) for seed in seeds for index in indices}
    assert len(drawn) == len(seeds) * len(indices)


def test_an_empty_batch_and_an_index_that_there_is_not_are_no_surprise() -> None:
    sampler = EpisodeSampler(numbered_set([20] * 12), FULL, seed=4)
    assert len(sampler.batch(3, 0)) == 0
    assert len(sampler.batch(LAST_EPISODE, 8)) == 8
    for index in (-1, LAST_EPISODE + 1, 10**20):
        with pytest.raises(EpisodeError, match="episodes are numbered from 0"):
            sampler[index]


def test_way_and_size_of_the_set_change_no_type_or_layout() -> None:
    episode = EpisodeSampler(numbered_set([5, 7]), EpisodeSpec(1, 1, 1), seed=0)[0]
    assert episode.support.dtype == episode.query.dtype == episode.labels.dtype == torch.int64
    assert episode.labels.tolist() == [[0]]


def cost_of_drawing(num_classes: int) -> float:
    """Seconds of processor time for 2000 episodes, one by one and in batches: the best of several goes."""
    sampler = EpisodeSampler(numbered_set([20] * num_classes), EpisodeSpec(5, 1, 15), seed=0)
    sampler.batch(0, 1)
    best = float("inf")
    for _ in range(7):
        start = time.process_time()
        sampler.batch(0, 1900)
        for index in range(100):
            sampler.batch(index, 1)
        best = min(best, time.process_time() - start)
    return best


def test_the_cost_of_an_episode_does_not_depend_on_the_number_of_classes() -> None:
    few, many = cost_of_drawing(100), cost_of_drawing(20_000)
    assert many < 2.5 * few, f"{few:.4f} s with 100 classes, {many:.4f} s with 20,000"


def test_a_batch_of_episodes_costs_far_less_than_its_episodes_one_by_one() -> None:
    sampler = EpisodeSampler(numbered_set([20] * 100), EpisodeSpec(5, 1, 15), seed=0)
    start = time.process_time()
    sampler.batch(0, 500)
    together = time.process_time() - start
    start = time.process_time()
    for index in range(500):
        sampler.batch(index, 1)
    assert together < (time.process_time() - start) / 3


@pytest.mark.parametrize(
    ("sizes", "spec", "message"),
    [
        ([20, 20, 6, 20], EpisodeSpec(2, 1, 6), r"1 shot \+ 6 query needs 7 images of each class; class 'class2' of"),
        ([20, 20, 8, 20], EpisodeSpec(2, 1, 6, 2), r"1 shot \+ 6 query \+ 2 unlabeled needs 9 images .* 'class2' .* 8"),
        ([20] * 4, EpisodeSpec(5, 1, 1), "5-way needs 5 classes and numbers train has 4: choose a way of 4 or less"),
        (
            [20] * 4,
            EpisodeSpec(3, 1, 1, 1, 2),
            r"3-way \+ 2 distractor classes needs 5 classes and numbers train has 4: choose a way of 2 or less",
        ),
        ([20] * 4, EpisodeSpec(3, 1, 1, 1, 4), "numbers train has 4: choose fewer distractor classes"),
        ([20, 0], EpisodeSpec(1, 1, 1), "class 'class1' of numbers train has 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(sizes: list[int], spec: EpisodeSpec, message: str) -> None:
    with pytest.raises(EpisodeError, match=message) as caught:
        EpisodeSampler(numbered_set(sizes), spec, seed=0)
    assert "\n" not in str(caught.value)


def test_what_just_fits_is_drawn() -> None:
    sampler = EpisodeSampler(numbered_set([9] * 5), FULL, seed=0)
    episode = sampler.batch(0, 50)
    assert episode.unlabeled is not None
    used = torch.cat([episode.support.flatten(1), episode.query, episode.unlabeled], dim=1)
    assert used.shape == (50, 3 * 9 + 2 * 3)
    assert all(num_distinct(row) == row.numel() for row in used)


GOLDEN_SPEC = EpisodeSpec(way=2, shot=1, num_query=2, num_unlabeled=1, num_distractor=1)
GOLDEN_SET = numbered_set([5, 6, 7, 8, 9])


def test_these_are_the_episodes_of_protocol_version_1_on_every_machine() -> None:
    """When this fails, recorded numbers mean other episodes: raise ``VERSION`` before changing the values."""
    assert VERSION == 1
    sampler = EpisodeSampler(GOLDEN_SET, GOLDEN_SPEC, seed=0)
    assert rows_of(sampler.batch(0, 3)) == [
        [26, 6, 32, 28, 8, 5, 0, 0, 1, 1, 18, 29, 7],
        [10, 25, 21, 6, 23, 9, 1, 0, 1, 0, 8, 24, 2],
        [34, 2, 0, 26, 1, 33, 1, 0, 1, 0, 14, 4, 27],
    ]
    assert rows_of(sampler[2**33]) == [[32, 19, 21, 31, 30, 23, 1, 0, 0, 1, 25, 15, 27]]
    assert sampler.digest(1500) == "c80ef3e4bd19b7c2f56ca7230fc48d9f474020f4cdecdfc0863b16ea75170ebf"


def digest_of(
    image_set: ImageSet = GOLDEN_SET, spec: EpisodeSpec = GOLDEN_SPEC, seed: int = 0, num_episodes: int = 5
) -> str:
    return EpisodeSampler(image_set, spec, seed).digest(num_episodes)


def test_the_digest_changes_with_spec_seed_count_pixels_and_classes() -> None:
    unnamed = replace(GOLDEN_SET, fingerprint="")
    darker = replace(unnamed, images=unnamed.images.clone())
    darker.images[0, 0, 0, 0] += 1
    digests = [
        digest_of(),
        digest_of(spec=replace(GOLDEN_SPEC, num_query=3)),
        digest_of(spec=replace(GOLDEN_SPEC, num_unlabeled=0, num_distractor=0)),
        digest_of(seed=1),
        digest_of(num_episodes=6),
        digest_of(replace(GOLDEN_SET, fingerprint="other pixels")),
        digest_of(unnamed),
        digest_of(darker),
        digest_of(numbered_set([7, 7, 7, 7, 7])),
    ]
    assert len(set(digests)) == len(digests)
    assert digest_of() == digests[0]


@pytest.mark.parametrize("made_of", ["episodes", "batches"])
def test_what_a_training_takes_lies_on_its_device(made_of: str) -> None:
    """The device that holds nothing stands for one that is not here."""
    images, elsewhere = numbered_set([10] * 5), torch.device("meta")
    sampler = (
        EpisodeSampler(images, EpisodeSpec(3, 1, 2), 0) if made_of == "episodes" else ClassBatchSampler(images, 8, 0)
    )
    taken = [*sampler.steps(3, 7, elsewhere)]
    assert len(taken) == 4
    assert {tensor.device for step in taken for tensor in vars(step).values() if tensor is not None} == {elsewhere}
