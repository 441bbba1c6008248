from __future__ import annotations

import numpy as np
import pytest

from episodes.datasets.cards import benchmarks
from episodes.datasets.omniglot.dataset import ROTATIONS, split_characters
from episodes.datasets.strokes.dataset import Strokes
from episodes.draws import episode_classes
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.records.class_design import class_design, classes_of
from fewshot.statistics.class_interval import ClassDesign, class_interval
from fewshot.statistics.intervals import episode_interval
from records import a_record, changed, committed
from toy_classes import toy_set

TRUTH = 0.75


def drawn_groups(num_classes: int, count: int, way: int = 5, seed: int = 0) -> np.ndarray:
    return episode_classes(seed, np.arange(count), num_classes, way)


def world(num_classes: int, groups: np.ndarray, seed: int) -> np.ndarray:
    """Accuracies on classes drawn anew from a population whose mean accuracy is TRUTH.

    Each class has a difficulty of its own, each of its 20 images another, and classes that meet disturb each other.
    """
    generator = np.random.default_rng(seed)
    of_classes = generator.normal(0, 0.08, num_classes)
    of_images = generator.normal(0, 0.1, (num_classes, 20))
    of_pairs = generator.normal(0, 0.03, (num_classes, num_classes))
    chosen = generator.integers(0, 20, (*groups.shape, 3))
    easy = of_classes[groups] + of_images[groups[:, :, None], chosen].mean(axis=2)
    easy += of_pairs[groups[:, :, None], groups[:, None, :]].mean(axis=2)
    return np.asarray(TRUTH + easy.mean(axis=1) + generator.normal(0, 0.05, len(groups)))


@pytest.mark.parametrize(("num_classes", "way"), [(12, 5), (100, 5), (60, 20)])
def test_the_open_interval_covers_the_accuracy_on_the_population_of_classes(num_classes: int, way: int) -> None:
    groups = drawn_groups(num_classes, 1000, way)
    design = ClassDesign(groups)
    worlds = [world(num_classes, groups, seed) for seed in range(400)]
    intervals = [class_interval(accuracies, design) for accuracies in worlds]
    covered = np.mean([interval.low <= TRUTH <= interval.high for interval in intervals])
    assert 0.925 <= covered <= 0.98
    closed = [episode_interval(accuracies) for accuracies in worlds]
    assert np.mean([interval.low <= TRUTH <= interval.high for interval in closed]) < 0.75, "it is of these classes"


def test_variance_components_are_estimated_without_bias() -> None:
    groups = drawn_groups(40, 800)
    design, generator = ClassDesign(groups), np.random.default_rng(0)
    found = []
    for _ in range(300):
        accuracies = generator.normal(0, 0.02, 40)[groups].sum(axis=1) + generator.normal(0, 0.1, 800)
        components = design.components(accuracies - accuracies.mean())
        found.append((components.classes, components.rest))
    assert np.mean(found, axis=0).tolist() == pytest.approx([0.02**2, 0.1**2], rel=0.05)


def test_where_classes_make_no_difference_the_open_interval_is_the_closed_one() -> None:
    groups = drawn_groups(200, 3000)
    accuracies = np.random.default_rng(1).binomial(75, 0.8, 3000) / 75
    interval = class_interval(accuracies, ClassDesign(groups))
    assert interval.half_width == pytest.approx(episode_interval(accuracies).half_width, rel=0.25)
    assert interval.unit == "classes"
    assert interval.n == 200


def test_more_episodes_do_not_narrow_what_the_classes_leave_open() -> None:
    few, many = drawn_groups(20, 500), drawn_groups(20, 5000)
    closed = [episode_interval(world(20, groups, 3)).half_width for groups in (few, many)]
    opened = [class_interval(world(20, groups, 3), ClassDesign(groups)).half_width for groups in (few, many)]
    assert closed[1] < 0.4 * closed[0]
    assert opened[1] > 0.8 * opened[0]


def test_episodes_that_hold_every_class_say_nothing_of_the_spread_between_classes() -> None:
    groups = drawn_groups(5, 50)
    accuracies = np.random.default_rng(0).normal(0.7, 0.1, 50)
    interval = class_interval(accuracies, ClassDesign(groups))
    assert np.isfinite(interval.half_width)


def test_accuracies_of_other_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="4 accuracies for 5 episodes"):
        class_interval(np.ones(4), ClassDesign(drawn_groups(8, 5)))


def test_the_classes_of_an_episode_are_those_that_the_sampler_drew() -> None:
    image_set = toy_set(num_classes=9)
    sampler = EpisodeSampler(image_set, EpisodeSpec(4, 1, 1, 1, 2), seed=5)
    counts = np.full(40, 3, np.uint16)
    record = a_record(counts, 4, episode_seed=5, protocol="toy-any-8/4w1s/q1u1d2@v1", test={"num_classes": 9})
    design = class_design(record)
    assert design is not None
    drawn = image_set.class_ids[sampler.batch(0, 40).support[:, :, 0]].numpy()
    expected = np.zeros((40, 9))
    np.put_along_axis(expected, drawn, 1, axis=1)
    assert (design.members.todense() == expected).all()


def test_the_known_numbers_of_classes_are_those_of_the_data_sets() -> None:
    for split in ("vinyals", "lake"):
        known = benchmarks()[f"omniglot-{split}-28"]
        rotations = len(ROTATIONS) if split == "vinyals" else 1
        assert (known.num_test_classes, known.rotations) == (
            len(split_characters(split, "test")) * rotations,
            rotations,
        )
    assert benchmarks()["strokes-standard-28"].num_test_classes == Strokes().load("test").num_classes


def test_turned_copies_of_a_character_count_as_one_class() -> None:
    (record, *_) = [r for r in committed() if r.pixels_way_shot[0].endswith("vinyals-28")]
    design = class_design(record)
    assert design is not None
    assert design.num_groups == 423
    damaged = changed(record, protocol="omniglot-vinyals-28-damaged-75/5w1s/q15@v1")
    assert classes_of(damaged) == classes_of(record)
    unknown = changed(record, protocol="folder-images-28/5w1s/q15@v1", test={"num_classes": None})
    assert class_design(unknown) is None
