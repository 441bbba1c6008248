"""fewshot bench --scaling: what an episode costs, against classes, images, way, shot and the number of episodes.

The images lie in a memory-mapped file that is made on the spot and removed again; they are small, so that ten million
fit on a disk. What is measured is drawing an episode and gathering its images, as a training does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes.files import data_root
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.bench.basics import Figure, about_here, figure, fresh_method, in_a_process, in_equal_classes, seconds
from fewshot.evaluation.evaluate import score_episodes
from fewshot.models.batches import episode_images
from fewshot.models.hardware import keep_freed_memory, peak_megabytes
from fewshot.progress import Reporter

IMAGE_SHAPE = (1, 8, 8)
FLAT_AXES = ("classes", "images", "episodes")
"""Along these the cost of an episode is to stay within ``FLAT_WITHIN``; with way and shot it grows by the images."""
FLAT_WITHIN = 1.2
SCORING_CEILING_MB = 1024
"""What scoring may add to the memory of a process, whatever way, shot and number of episodes are."""
_DRAWN = 32  # episodes drawn at once, as a training does
_ROW_BYTES = 64
_MIDDLE = EpisodeSpec(5, 1, 5)


@dataclass(frozen=True)
class Sizes:
    """Where the axes are looked at. Along one axis all else stays as ``classes`` and ``images`` say last or first."""

    classes: tuple[int, ...] = (64, 1000, 10_000, 100_000, 1_000_000)
    images: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    way: tuple[int, ...] = (5, 20, 60, 200, 1000)
    shot: tuple[int, ...] = (1, 5, 20, 50)
    episodes: tuple[int, ...] = (100, 1000, 10_000, 100_000)
    scored: tuple[tuple[int, int, int], ...] = ((5, 1, 10_000), (20, 5, 10_000), (20, 5, 100_000), (100, 5, 10_000))
    fixed_classes: int = 1000  # along the other axes
    rounds: int = 5  # all points are measured, then all again; the best counts
    blocks: int = 24  # times ``_DRAWN`` episodes in a round


QUICK = Sizes(
    classes=(64, 10_000),
    images=(10_000, 100_000),
    way=(5, 20),
    shot=(1, 5),
    episodes=(100, 1000),
    scored=((5, 1, 1000),),
    rounds=2,
    blocks=4,
)


@dataclass
class Point:
    """One place on one axis, and the cost of an episode there in microseconds."""

    axis: str
    classes: int
    images: int
    spec: EpisodeSpec
    episodes: int = 0  # 0: the blocks of the sizes
    drawing_us: float = field(default=float("inf"))
    gathering_us: float = field(default=float("inf"))

    @property
    def value(self) -> int:
        """Where it stands on its axis."""
        return {
            "classes": self.classes,
            "images": self.images,
            "way": self.spec.way,
            "shot": self.spec.shot,
            "episodes": self.episodes,
        }[self.axis]


def points_of(sizes: Sizes) -> list[Point]:
    """Every point of every axis, not measured yet."""
    most, classes = sizes.images[-1], sizes.fixed_classes
    return [
        *(Point("classes", count, most, _MIDDLE) for count in sizes.classes),
        *(Point("images", classes, count, _MIDDLE) for count in sizes.images),
        *(Point("way", classes, most, replace(_MIDDLE, way=way)) for way in sizes.way),
        *(Point("shot", classes, most, replace(_MIDDLE, shot=shot)) for shot in sizes.shot),
        *(Point("episodes", classes, most, _MIDDLE, count) for count in sizes.episodes),
    ]


def measure_scaling(root: Path | None, reporter: Reporter, sizes: Sizes | None = None) -> dict[str, Any]:
    """Every point, how flat each axis is, and what scoring takes of memory; as plain data."""
    sizes, about = sizes or Sizes(), about_here()
    points = points_of(sizes)
    with image_file(data_root(root), sizes.images[-1], reporter) as images:
        for number in range(sizes.rounds):
            for done, point in enumerate(points):
                measure_point(point, images, sizes)
                reporter.test_progress("scaling", number * len(points) + done + 1, sizes.rounds * len(points))
    scoring = []
    for way, shot, episodes in sizes.scored:
        reporter.say(f"memory of scoring {episodes:,} episodes, {way}-way {shot}-shot ...")
        scoring.append(in_a_process(scoring_memory, way, shot, episodes))
    flat = {axis: _spread([point for point in points if point.axis == axis]) for axis in FLAT_AXES}
    content = about | {
        "image_shape": list(IMAGE_SHAPE),
        "file_mb": sizes.images[-1] * _ROW_BYTES / 1e6,
        "points": [asdict(point) | {"value": point.value} for point in points],
        "largest_over_smallest": flat,
        "flat_within": FLAT_WITHIN,
        "scoring": scoring,
        "scoring_ceiling_mb": SCORING_CEILING_MB,
    }
    return content | {"measurements": figures(content)}


def figures(content: dict[str, Any]) -> list[Figure]:
    """As lines of the table."""
    found = [
        figure(
            f"{point['axis']} {point['value']:,}: an episode",
            point["drawing_us"] + point["gathering_us"],
            "µs",
            f"drawing {point['drawing_us']:.1f} + gathering {point['gathering_us']:.1f}",
        )
        for point in content["points"]
    ]
    found += [
        figure(f"along {axis}", ratio, "largest / smallest", f"flat means {content['flat_within']} at most")
        for axis, ratio in content["largest_over_smallest"].items()
    ]
    ceiling = f"on top of what the process held before; the ceiling is {content['scoring_ceiling_mb']:,} MB"
    return found + [
        figure(f"scoring {line['episodes']:,} episodes {line['way']}w{line['shot']}s", line["added_mb"], "MB", ceiling)
        for line in content["scoring"]
    ]


@contextmanager
def image_file(root: Path, num_images: int, reporter: Reporter) -> Iterator[torch.Tensor]:
    """Random pixels in a memory-mapped file of their own under ``root``, every page touched; gone afterwards.

    Raises OSError where the disk is full.
    """
    root.mkdir(parents=True, exist_ok=True)
    generator, chunk = np.random.default_rng(0), 1 << 20
    with tempfile.TemporaryDirectory(prefix="fewshot-scaling-", dir=root) as folder:
        path = Path(folder) / "images.npy"
        pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (num_images, *IMAGE_SHAPE))
        for first in range(0, num_images, chunk):
            part = pixels[first : first + chunk]
            part[:] = generator.integers(0, 256, part.shape, np.uint8)
            reporter.data_progress("making images", min(first + chunk, num_images), num_images)
        yield torch.from_numpy(pixels)
        del pixels


def measure_point(point: Point, images: torch.Tensor, sizes: Sizes) -> None:
    """Microseconds of drawing an episode and of gathering its images; the better of this and what was found before."""
    images_here = in_equal_classes(images[: point.images], point.classes, "train")
    sampler = EpisodeSampler(images_here, point.spec, seed=0)
    sampler.batch(0, _DRAWN)
    fewest = max(1, sizes.blocks * _MIDDLE.way // point.spec.way)  # large episodes need no more repetitions
    count = point.episodes or fewest * _DRAWN
    drawing = gathering = 0.0
    for first in range(0, count, _DRAWN):
        start = time.perf_counter()
        drawn = sampler.batch(first, min(_DRAWN, count - first))
        between = time.perf_counter()
        for index in range(len(drawn)):
            episode_images(images_here.images, drawn.part(index, 1))
        drawing += between - start
        gathering += time.perf_counter() - between
    point.drawing_us = min(point.drawing_us, 1e6 * drawing / count)
    point.gathering_us = min(point.gathering_us, 1e6 * gathering / count)


def _spread(points: Sequence[Point]) -> float:
    costs = [point.drawing_us + point.gathering_us for point in points]
    return max(costs) / min(costs)


def scoring_memory(way: int, shot: int, episodes: int) -> dict[str, Any]:
    """Megabytes that scoring adds to a process which holds method and table; called in one of its own."""
    keep_freed_memory()
    num_classes, per_class = max(100, way), 20
    table = torch.rand(num_classes * per_class, 64, generator=torch.Generator().manual_seed(0))
    test_set = in_equal_classes(torch.zeros(len(table), 1, 1, 1, dtype=torch.uint8), num_classes, "test")
    method = fresh_method("proto", (1, 28, 28))
    sampler = EpisodeSampler(test_set, EpisodeSpec(way, shot, 15), seed=0)
    score_episodes(method, table, sampler, 2)
    before = peak_megabytes()
    spent = seconds(lambda: score_episodes(method, table, sampler, episodes))
    after = peak_megabytes()
    return {
        "way": way,
        "shot": shot,
        "episodes": episodes,
        "seconds": spent,
        "process_mb": after,
        "added_mb": after - before,
    }
