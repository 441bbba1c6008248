"""Episodes without state: episode i is a function of (seed, i) alone.

So it is the same on every device, for any batch size and any number of processes; resuming a training and comparing
two methods on the same episodes need no bookkeeping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from episodes.draws import (
    IMAGES,
    POOLS,
    QUERY_ORDER,
    SHUFFLE,
    UNLABELED_ORDER,
    dirichlet_counts,
    draw_distinct,
    episode_classes,
)
from episodes.philox import random_words
from episodes.spec import EpisodeSpec
from episodes.types import Episode, EpisodeError, ImageSet, LabeledRows, Rows

CPU = torch.device("cpu")
LAST_EPISODE = 2**62  # a batch after it still has numbers of 63 bits
_DRAWN_AHEAD = 32  # episodes drawn at once: drawing one costs hardly less


@dataclass(frozen=True, eq=False)
class Pool:
    """The rows that may be drawn, class after class: class c owns ``rows[starts[c]:starts[c + 1]]``."""

    rows: Rows  # (num_rows,)
    starts: Rows  # (num_classes + 1,)

    @cached_property
    def sizes(self) -> Rows:
        """Number of rows per class, (num_classes,)."""
        return np.diff(self.starts)


def whole_pool(image_set: ImageSet) -> Pool:
    """Every image of the set."""
    return Pool(np.arange(image_set.class_starts[-1]), image_set.class_starts)


def split_labeled(image_set: ImageSet, labeled_share: float, seed: int) -> tuple[Pool, Pool]:
    """Divide the images of each class into a labeled and an unlabeled pool (Ren et al. 2018, section 4.1).

    ``round(labeled_share * class size)`` images of each class, at least one, are labeled; which ones, the seed says.
    """
    if not 0 < labeled_share < 1:
        raise EpisodeError(f"the labeled share must lie between 0 and 1, not {labeled_share}")
    sizes = image_set.class_sizes
    keys = random_words(seed, POOLS, np.arange(image_set.class_starts[-1]), 1)[:, 0]
    order = np.lexsort((keys, np.repeat(np.arange(len(sizes)), sizes)))  # random within each class
    rank = order.argsort() - np.repeat(image_set.class_starts[:-1], sizes)
    num_labeled = np.maximum(1, np.rint(labeled_share * sizes)).astype(np.int64).clip(max=sizes)
    labeled = rank < np.repeat(num_labeled, sizes)
    return (
        Pool(np.flatnonzero(labeled), np.concatenate(([0], num_labeled.cumsum()))),
        Pool(np.flatnonzero(~labeled), np.concatenate(([0], (sizes - num_labeled).cumsum()))),
    )


class EpisodeSampler:
    """Draws episodes of one shape from one image set.

    Classes are distinct, images are distinct, support, query and unlabeled share none. With ``labeled`` and
    ``unlabeled`` pools the support and the queries come from the first, the unlabeled images from the second.
    Raises EpisodeError at once, and says what would fit, when any class is too small.
    """

    published_as: ClassVar[str] = ""  # the name of episodes that somebody published; empty: drawn here

    def __init__(
        self,
        image_set: ImageSet,
        spec: EpisodeSpec,
        seed: int,
        *,
        labeled: Pool | None = None,
        unlabeled: Pool | None = None,
    ) -> None:
        self.image_set, self.spec, self.seed = image_set, spec, seed
        self.labeled = labeled or whole_pool(image_set)
        self.unlabeled = unlabeled
        _check_fit(image_set, spec, self.labeled, unlabeled)

    def __repr__(self) -> str:
        spec = self.spec
        mean = "" if spec.dirichlet is None else f" in the mean (Dirichlet, {spec.dirichlet})"
        shape = f"{spec.way}-way {spec.shot}-shot, {spec.num_query} queries a class{mean}"
        return f"{type(self).__name__}({shape}, seed {self.seed}, of {self.image_set!r})"

    def __getitem__(self, index: int) -> Episode:
        """Episode ``index``, as a batch of one."""
        return self.batch(index, 1)

    def batch(self, first: int, count: int) -> Episode:
        """Episodes ``first`` to ``first + count - 1`` in one batch, on the CPU."""
        if not 0 <= first <= LAST_EPISODE:
            raise EpisodeError(f"episodes are numbered from 0 to {LAST_EPISODE}; there is none of number {first}")
        spec, indices = self.spec, np.arange(first, first + count)
        num_drawn = spec.way + spec.num_distractor
        classes = episode_classes(self.seed, indices, self.image_set.num_classes, num_drawn)  # (batch, num_drawn)
        num_labeled = spec.shot + spec.most_query
        joint = spec.num_unlabeled if self.unlabeled is None else 0
        images = self._images(self.labeled, classes, num_labeled + joint, indices, first_word=0)
        support = images[:, : spec.way, : spec.shot]
        query, labels = self._queries(images[:, : spec.way, spec.shot : num_labeled], indices)
        order = random_words(self.seed, QUERY_ORDER, indices, query.shape[1]).argsort(axis=1, kind="stable")
        unlabeled = images[:, :, num_labeled:]
        if self.unlabeled is not None and spec.num_unlabeled:
            skip = 2 * num_drawn * num_labeled
            unlabeled = self._images(self.unlabeled, classes, spec.num_unlabeled, indices, first_word=skip)
        return Episode(
            torch.from_numpy(np.ascontiguousarray(support)),
            torch.from_numpy(np.take_along_axis(query, order, axis=1)),
            torch.from_numpy(np.take_along_axis(labels, order, axis=1)),
            self._shuffled(unlabeled.reshape(count, num_drawn * spec.num_unlabeled), indices)
            if spec.num_unlabeled
            else None,
        )

    def batches(self, num_episodes: int, batch_size: int, first: int = 0) -> Iterator[Episode]:
        """Episodes ``first`` to ``first + num_episodes - 1``, ``batch_size`` at a time."""
        for start in range(first, first + num_episodes, batch_size):
            yield self.batch(start, min(batch_size, first + num_episodes - start))

    def steps(self, first: int, last: int, device: torch.device = CPU) -> Iterator[Episode]:
        """Episodes ``first`` to ``last - 1``, one by one: what a training takes.

        They are drawn, and sent to ``device``, many at a time.
        """
        for drawn in self.batches(last - first, _DRAWN_AHEAD, first):
            there = drawn.to(device)
            for index in range(len(there)):
                yield there.part(index, 1)

    def rows(self, num_episodes: int) -> Rows:
        """The rows that the first episodes draw, each once and in order."""
        drawn = np.zeros(len(self.image_set.images), bool)
        for episode in self.batches(num_episodes, 1000):
            for rows in (episode.support, episode.query, episode.unlabeled):
                if rows is not None:
                    drawn[rows.numpy()] = True
        return np.flatnonzero(drawn)

    def digest(self, num_episodes: int) -> str:
        """SHA-256 over the rows of the first episodes and the pixels they point to: the identity of a test."""
        sha = hashlib.sha256(f"{self.image_set.pixels_digest} {self.spec} {self.seed} {num_episodes}".encode())
        for episode in self.batches(num_episodes, 1000):
            for rows in (episode.support, episode.query, episode.labels, episode.unlabeled):
                if rows is not None:
                    sha.update(rows.numpy().astype("<i8").tobytes())
        return sha.hexdigest()

    def _queries(self, images: Rows, indices: Rows) -> tuple[Rows, Rows]:
        """Rows and labels of the queries, class after class, (batch, queries) each."""
        spec, shape = self.spec, (len(indices), self.spec.num_queries)
        if spec.dirichlet is None:
            return images.reshape(shape), np.broadcast_to(np.repeat(np.arange(spec.way), spec.num_query), shape)
        counts = dirichlet_counts(self.seed, indices, spec.way, spec.num_queries, spec.dirichlet)
        taken = np.arange(images.shape[2]) < counts[..., None]  # (batch, way, most)
        labels = np.broadcast_to(np.arange(spec.way)[:, None], taken.shape)
        return images[taken].reshape(shape), labels[taken].reshape(shape)

    def _images(self, pool: Pool, classes: Rows, count: int, indices: Rows, first_word: int) -> Rows:
        """``count`` distinct rows of each class, (batch, classes, count)."""
        flat = classes.reshape(-1)
        num_words = classes.shape[1] * 2 * count
        words = random_words(self.seed, IMAGES, indices, first_word + num_words)[:, first_word:]
        within = draw_distinct(words.reshape(flat.size, 2 * count), pool.sizes[flat], count)
        rows: Rows = pool.rows[pool.starts[flat][:, None] + within]
        return rows.reshape(*classes.shape, count)

    def _shuffled(self, rows: Rows, indices: Rows) -> torch.Tensor:
        order = random_words(self.seed, UNLABELED_ORDER, indices, rows.shape[1]).argsort(axis=1, kind="stable")
        return torch.from_numpy(np.take_along_axis(rows, order, axis=1))


def _check_fit(image_set: ImageSet, spec: EpisodeSpec, labeled: Pool, unlabeled: Pool | None) -> None:
    where = f"{image_set.dataset} {image_set.split}"
    if spec.way + spec.num_distractor > image_set.num_classes:
        wanted = f"{spec.way}-way" + (f" + {spec.num_distractor} distractor classes" if spec.num_distractor else "")
        fitting = image_set.num_classes - spec.num_distractor
        advice = f"choose a way of {fitting} or less" if fitting > 0 else "choose fewer distractor classes"
        raise EpisodeError(
            f"{wanted} needs {spec.way + spec.num_distractor} classes and {where} has {image_set.num_classes}: {advice}"
        )
    joint = spec.num_unlabeled if unlabeled is None else 0
    what = f"{spec.shot} shot + {spec.most_query} query" + (f" + {joint} unlabeled" if joint else "")
    _check_sizes(image_set, labeled, spec.shot + spec.most_query + joint, what, "lower shot or query")
    if unlabeled is not None:
        advice = "lower the number of unlabeled images or the labeled share"
        _check_sizes(image_set, unlabeled, spec.num_unlabeled, f"{spec.num_unlabeled} unlabeled", advice)


def _check_sizes(image_set: ImageSet, pool: Pool, needed: int, what: str, advice: str) -> None:
    smallest = int(pool.sizes.argmin())
    if pool.sizes[smallest] < needed:
        has, whole = pool.sizes[smallest], image_set.class_sizes[smallest]
        where = "" if has == whole else f" of its {whole} in this pool"
        raise EpisodeError(
            f"{what} needs {needed} images of each class; class {image_set.class_names[smallest]!r} of "
            f"{image_set.dataset} {image_set.split} has {has}{where}: {advice}, or add images"
        )


@runtime_checkable
class TrainingSampler(Protocol):
    """What a training is fed with: episodes or batches of labeled images, each a function of seed and number."""

    image_set: ImageSet
    seed: int

    def steps(self, first: int, last: int, device: torch.device = CPU) -> Iterator[Episode] | Iterator[LabeledRows]:
        """What steps ``first`` to ``last - 1`` are made of, on ``device``."""
        ...


class ClassBatchSampler:
    """Draws labeled batches for methods that train on images: ``num_classes`` classes with ``per_class`` images each.

    With ``per_class`` None the batch is plain: every epoch is a random order of all images, cut into batches (the last,
    incomplete one is left out). Batch i is a function of (seed, i) alone.
    """

    def __init__(self, image_set: ImageSet, batch_size: int, seed: int, *, per_class: int | None = None) -> None:
        self.image_set, self.batch_size, self.seed, self.per_class = image_set, batch_size, seed, per_class
        num_images = len(image_set.images)
        if not 1 <= batch_size <= num_images:
            raise EpisodeError(f"a batch of {batch_size} images cannot be drawn from {num_images}")
        if per_class is not None:
            if per_class < 1 or batch_size % per_class:
                raise EpisodeError(f"a batch of {batch_size} images cannot hold {per_class} images of each class")
            num_drawn = batch_size // per_class
            if num_drawn > image_set.num_classes:
                raise EpisodeError(
                    f"a batch of {batch_size} images, {per_class} of each class, needs {num_drawn} classes and "
                    f"{image_set.dataset} {image_set.split} has {image_set.num_classes}"
                )
            _check_sizes(image_set, whole_pool(image_set), per_class, "a batch", "lower the images per class")
        self._epoch: int | None = None
        self._order = np.empty(0, np.int64)

    def __repr__(self) -> str:
        each = "" if self.per_class is None else f", {self.per_class} of each class"
        return f"ClassBatchSampler(batches of {self.batch_size}{each}, seed {self.seed}, of {self.image_set!r})"

    def batch(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and class ids of batch ``index``: int64 (batch_size,) each."""
        rows = self._plain(index) if self.per_class is None else self._balanced(index, self.per_class)
        chosen = torch.from_numpy(rows)
        return chosen, self.image_set.class_ids[chosen]

    def steps(self, first: int, last: int, device: torch.device = CPU) -> Iterator[LabeledRows]:
        """Batches ``first`` to ``last - 1``, on ``device``: what a training takes."""
        for index in range(first, last):
            yield LabeledRows(*self.batch(index)).to(device)

    def _plain(self, index: int) -> Rows:
        epoch, position = divmod(index, len(self.image_set.images) // self.batch_size)
        if epoch != self._epoch:  # kept, since the next batch is mostly of the same epoch
            keys = random_words(self.seed, SHUFFLE, np.asarray([epoch]), len(self.image_set.images))[0]
            self._epoch, self._order = epoch, keys.argsort(kind="stable")
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def _balanced(self, index: int, per_class: int) -> Rows:
        num_drawn = self.batch_size // per_class
        classes = episode_classes(self.seed, np.asarray([index]), self.image_set.num_classes, num_drawn)[0]
        words = random_words(self.seed, IMAGES, np.asarray([index]), 2 * self.batch_size)
        within = draw_distinct(words.reshape(num_drawn, -1), self.image_set.class_sizes[classes], per_class)
        rows: Rows = self.image_set.class_starts[classes][:, None] + within
        return rows.reshape(-1)
