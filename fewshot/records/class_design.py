"""Which classes each episode of a record drew: a function of its episode seed and the number of its test classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from episodes.datasets.cards import benchmarks
from episodes.draws import episode_classes
from fewshot.records.record import RunRecord
from fewshot.statistics.class_interval import ClassDesign


@dataclass(frozen=True)
class Classes:
    """How many test classes there are, and how many neighboring ones are one class rotated."""

    count: int
    rotations: int = 1


def classes_of(record: RunRecord) -> Classes | None:
    """The test classes of a record; None where neither it nor a card knows them, or they were not drawn.

    Records say it themselves, but for those made before 23 November 2026.
    """
    if record.protocol_name.published_as:
        return None
    known = benchmarks().get(record.test.clean_id)  # corruption changes images, not classes
    count = record.test.num_classes or (known.num_test_classes if known else None)
    return None if count is None else Classes(count, known.rotations if known else 1)


def class_design(record: RunRecord) -> ClassDesign | None:
    """Who was drawn into which of the record's episodes; None where its classes are not known.

    A class and its rotated copies count as one: they are no independent sample of characters.
    """
    classes = classes_of(record)
    if classes is None:
        return None
    way, num_drawn = record.test.way, record.test.way + record.test.distractors
    return _design(record.episode_seed, record.num_episodes, classes, way, num_drawn)


@lru_cache(maxsize=16)
def _design(seed: int, num_episodes: int, classes: Classes, way: int, num_drawn: int) -> ClassDesign:
    drawn = episode_classes(seed, np.arange(num_episodes), classes.count, num_drawn)
    return ClassDesign(drawn[:, :way] // classes.rotations)
