"""Which classes each episode of a record drew: a function of its episode seed and the number of its test classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from episodes.datasets.cards import benchmarks
from episodes.draws import episode_classes
from fewshot.records.record import RunRecord
from fewshot.statistics.class_bootstrap import ClassDesign


@dataclass(frozen=True)
class Classes:
    """How many test classes there are, and how many neighboring ones are one class rotated."""

    count: int
    rotations: int = 1


def classes_of(record: RunRecord) -> Classes | None:
    """The test classes of a record; None where neither it nor a card knows them, or they were not drawn.

    Records say it themselves, but for those made before 23 November 2026.
    """
    if "/runs@" in record.protocol:
        return None
    pixels = record.pixels_way_shot[0].partition("-damaged")[0]  # damage changes images, not classes
    known = benchmarks().get(pixels)
    count = record.config.get("num_test_classes", known.num_test_classes if known else None)
    return None if count is None else Classes(count, known.rotations if known else 1)


def class_design(record: RunRecord) -> ClassDesign | None:
    """Who was drawn into which of the record's episodes; None where its classes are not known.

    A class and its rotated copies count as one: they are no independent sample of characters.
    """
    classes = classes_of(record)
    if classes is None:
        return None
    config, way = record.config, record.config["way"]
    distractors = config.get("distractors", config["recipe"].get("distractors")) or 0
    return _design(record.episode_seed, record.num_episodes, classes, way, way + distractors)


@lru_cache(maxsize=16)
def _design(seed: int, num_episodes: int, classes: Classes, way: int, num_drawn: int) -> ClassDesign:
    drawn = episode_classes(seed, np.arange(num_episodes), classes.count, num_drawn)
    return ClassDesign(drawn[:, :way] // classes.rotations)
