"""The only code that measures accuracy: every image embedded once, then thousands of episodes scored on the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from episodes.progress import Progress, silent
from episodes.sampler import EpisodeSampler
from episodes.types import Episode, EpisodeError, gather
from fewshot.models.batches import episode_images
from fewshot.models.hardware import Precision, autocast
from fewshot.models.methods.base import Method
from fewshot.models.readouts.base import Readout
from fewshot.statistics.intervals import Interval, interval_over_episodes

_EMBEDDING_BATCH_BYTES = 256 * 64 * 28 * 28 * 4  # what 256 Omniglot images fill in Conv4's widest map
_MOST_QUERIES = 2**16 - 1  # of an episode: records count the correct ones in 16 bits
_SCORING_CHUNK_NUMBERS = 16 << 20  # embeddings gathered at once: 64 MB in float32


@dataclass(frozen=True)
class Evaluation:
    """Correctly classified queries of every episode, and what it took."""

    correct: npt.NDArray[np.uint16]  # (episodes,)
    num_queries: int  # queries of one episode
    seconds: float

    @cached_property
    def interval(self) -> Interval:
        """Mean accuracy over episodes with its 95 % interval."""
        return interval_over_episodes(self.correct / np.float64(self.num_queries))


def embedding_batch_size(method: Method) -> int:
    """Images to embed at once, so that the widest map of the encoder stays in the processor's cache."""
    _, height, width = method.encoder.image_shape
    return max(16, _EMBEDDING_BATCH_BYTES // (64 * height * width * 4))


def embed_all(
    method: Method,
    images: UInt8[Tensor, "num_images c h w"],
    precision: Precision,
    progress: Progress = silent,
) -> Float[Tensor, "num_images *feature"]:
    """The table of embeddings, one row for each image, on the device of the method."""
    device, batch_size = method.encoder.mean.device, embedding_batch_size(method)
    table: Tensor | None = None
    method.eval()
    with torch.inference_mode(), autocast(device, precision):
        for first in range(0, len(images), batch_size):
            embeddings = method.embed(images[first : first + batch_size].to(device))
            if table is None:
                table = embeddings.new_empty(len(images), *embeddings.shape[1:])
            table[first : first + batch_size] = embeddings
            progress("embedding", min(first + batch_size, len(images)), len(images))
    if table is None:
        raise ValueError("there are no images to embed")
    return table


def score_episodes(
    method: Method,
    table: Float[Tensor, "num_images *feature"],
    sampler: EpisodeSampler,
    num_episodes: int,
    precision: Precision = "fp32",
    progress: Progress = silent,
) -> npt.NDArray[np.uint16]:
    """Correctly classified queries of episodes 0 to num_episodes - 1, scored many at a time on the table."""
    spec = sampler.spec
    num_unlabeled = (spec.way + spec.num_distractor) * spec.num_unlabeled
    working = method.working_numbers(spec.way, spec.shot, spec.num_queries, num_unlabeled)

    def score(episode: Episode) -> Tensor:
        unlabeled = None if episode.unlabeled is None else gather(table, episode.unlabeled)
        support, query = gather(of_support, episode.support), gather(of_query, episode.query)
        return method.scored(support, query, unlabeled, prepared=True)

    method.eval()
    with autocast(table.device, precision):
        with torch.inference_mode():
            of_support, of_query = method.prepare(table)
        return _count_correct(score, working, table.device, sampler, num_episodes, progress)


def _count_correct(
    score: Callable[[Episode], Tensor],
    working: int,
    device: torch.device,
    sampler: EpisodeSampler,
    num_episodes: int,
    progress: Progress,
) -> npt.NDArray[np.uint16]:
    """Correctly classified queries of each episode; ``working`` numbers are held while one is scored."""
    chunk = max(1, min(512, _SCORING_CHUNK_NUMBERS // working))
    correct = np.empty(num_episodes, np.uint16)
    done = 0
    with torch.inference_mode():
        for drawn in sampler.batches(num_episodes, chunk):
            episode = drawn.to(device)
            hits = (score(episode).argmax(-1) == episode.labels).sum(1)
            correct[done : done + len(hits)] = hits.cpu().numpy()
            done += len(hits)
            progress("testing", done, num_episodes)
    return correct


def score_pixels(
    method: Method, sampler: EpisodeSampler, num_episodes: int, precision: Precision, progress: Progress = silent
) -> npt.NDArray[np.uint16]:
    """Correctly classified queries of each episode, its images embedded together and apart from all other episodes."""
    device, images = method.encoder.mean.device, sampler.image_set.images
    correct = np.empty(num_episodes, np.uint16)
    method.eval()
    for index, drawn in enumerate(sampler.batches(num_episodes, 1)):
        batch = episode_images(images, drawn).to(device)
        with torch.inference_mode(), autocast(device, precision):
            logits = method.scored(*method.embed_episode(batch))
        correct[index] = int((logits.argmax(-1) == batch.labels).sum())
        progress("testing", index + 1, num_episodes)
    return correct


def evaluate(
    method: Method,
    sampler: EpisodeSampler,
    num_episodes: int,
    precision: Precision = "fp32",
    progress: Progress = silent,
    table: Float[Tensor, "num_images *feature"] | None = None,
) -> Evaluation:
    """Accuracy of ``method`` on the first ``num_episodes`` episodes of ``sampler``.

    Each image of the sampler's set is embedded once (or ``table`` holds what it gave before), in evaluation mode: batch
    norm uses the running statistics of training, so no query sees another. A method that must see the pixels of an
    episode together is given them so.
    Raises UntrainedError for a method whose rule is a network that was never trained.
    """
    method.refuse_untrained()
    _refuse_uncountable(sampler)
    start = time.perf_counter()
    if method.sees_whole_episode:
        correct = score_pixels(method, sampler, num_episodes, precision, progress)
    else:
        if table is None:
            table = embed_all(method, sampler.image_set.images, precision, progress)
        correct = score_episodes(method, table, sampler, num_episodes, precision, progress)
    return Evaluation(correct, sampler.spec.num_queries, time.perf_counter() - start)


def evaluate_readout(
    readout: Readout,
    table: Float[Tensor, "num_images dim"],
    train_mean: Float[Tensor, " dim"] | None,
    sampler: EpisodeSampler,
    num_episodes: int,
    progress: Progress = silent,
) -> Evaluation:
    """Accuracy of a read-out on the very episodes that ``evaluate`` uses; row i of the table embeds image i of the set.

    Unlabeled images of the episodes stay unused. Embeddings are read in full precision.
    """
    _refuse_uncountable(sampler)
    start, spec = time.perf_counter(), sampler.spec
    working = readout.working_numbers(spec.way, spec.shot, spec.num_queries, table.shape[1])

    def score(episode: Episode) -> Tensor:
        return readout.logits(gather(table, episode.support), gather(table, episode.query), train_mean)

    correct = _count_correct(score, working, table.device, sampler, num_episodes, progress)
    return Evaluation(correct, spec.num_queries, time.perf_counter() - start)


def _refuse_uncountable(sampler: EpisodeSampler) -> None:
    if sampler.spec.num_queries > _MOST_QUERIES:
        raise EpisodeError(
            f"an episode of {sampler.spec.num_queries:,} queries cannot be counted: take at most {_MOST_QUERIES:,}"
        )
