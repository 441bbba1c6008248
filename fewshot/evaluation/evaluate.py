"""The only code that measures accuracy: every image embedded once, then thousands of episodes scored on the table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from episodes.errors import UserError
from episodes.progress import Progress, silent
from episodes.sampler import EpisodeSampler
from episodes.spec import unit_of
from episodes.types import Episode, EpisodeError, Rows, gather
from fewshot.evaluation.result import Evaluation as Evaluation
from fewshot.evaluation.result import Predictions
from fewshot.models.batches import episode_images
from fewshot.models.distances import conditioned
from fewshot.models.hardware import Precision, autocast
from fewshot.models.methods.base import Method
from fewshot.models.readouts.base import Readout

_CACHED_BYTES = 256 * 64 * 28 * 28 * 4  # what 256 Omniglot images fill in Conv4's widest map
_GPU_BYTES = 1 << 29
_MOST_QUERIES = 2**16 - 1  # of an episode: records count the correct ones in 16 bits
_SCORING_CHUNK_ELEMENTS = 4 << 20  # embeddings gathered at once: 16 MB in float32
_GPU_CHUNKS = 4  # a GPU takes so many at once; a processor waits longer for fresh pages than it computes

Scored = tuple[Episode, Tensor]  # episodes and the logits of their queries


class NotFiniteError(UserError):
    """Embeddings or scores that are no numbers, of which none may reach a record."""


def embedding_batch_size(method: Method) -> int:
    """Images to embed at once: the widest map of the encoder stays in the processor's cache; a GPU wants many."""
    _, height, width = method.encoder.image_shape
    most = _CACHED_BYTES if method.encoder.mean.device.type == "cpu" else _GPU_BYTES
    return max(16, most // (64 * height * width * 4))


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


def drawn_rows(samplers: Sequence[EpisodeSampler], num_episodes: int) -> Rows | None:
    """The rows that the first episodes of these samplers of one image set draw; None where they may be all."""
    num_images = len(samplers[0].image_set.images)
    if sum(sampler.spec.num_images for sampler in samplers) * num_episodes >= num_images:
        return None
    return np.unique(np.concatenate([sampler.rows(num_episodes) for sampler in samplers]))


def embed_drawn(
    method: Method,
    images: UInt8[Tensor, "num_images c h w"],
    rows: Rows | None,
    precision: Precision,
    progress: Progress = silent,
) -> Float[Tensor, "num_images *feature"]:
    """The table of embeddings for episodes that draw these ``rows`` alone (None: any): no others are embedded.

    In the place of each of the others stands the embedding of the next one that is drawn, so that what is taken of the
    whole table (its mean, its scale) is of embeddings.
    """
    if rows is None:
        return embed_all(method, images, precision, progress)
    table = embed_all(method, images[torch.from_numpy(rows)], precision, progress)
    return table[torch.from_numpy(np.searchsorted(rows, np.arange(len(images))).clip(max=len(rows) - 1))]


def score_episodes(
    method: Method,
    table: Float[Tensor, "num_images *feature"],
    sampler: EpisodeSampler,
    num_episodes: int,
    precision: Precision = "fp32",
) -> npt.NDArray[np.uint16]:
    """Correctly classified queries of episodes 0 to num_episodes - 1, scored many at a time on the table."""
    scored = _scored_on_table(method, table, sampler, num_episodes, precision)
    return _counted(scored, sampler, num_episodes).correct


def _scored_on_table(
    method: Method, table: Tensor, sampler: EpisodeSampler, num_episodes: int, precision: Precision
) -> Iterator[Scored]:
    spec = sampler.spec
    num_unlabeled = (spec.way + spec.num_distractor) * spec.num_unlabeled
    peak = method.peak_elements(spec.way, spec.shot, spec.num_queries, num_unlabeled)
    method.eval()
    with torch.inference_mode(), autocast(table.device, precision):
        table = conditioned(table, method.invariant_to)[0].to(method.encoder.mean.dtype)
        of_support, of_query = method.prepare(table)
    for drawn in sampler.batches(num_episodes, _episodes_at_once(peak, table.device)):
        episode = drawn.to(table.device)
        with torch.inference_mode(), autocast(table.device, precision):
            unlabeled = None if episode.unlabeled is None else gather(table, episode.unlabeled)
            support, query = gather(of_support, episode.support), gather(of_query, episode.query)
            logits = method.scored(support, query, unlabeled, prepared=True)
        yield drawn, logits


def _scored_together(
    method: Method, sampler: EpisodeSampler, num_episodes: int, precision: Precision
) -> Iterator[Scored]:
    """The images of an episode embedded together and apart from all other episodes."""
    device, images = method.encoder.mean.device, sampler.image_set.images
    method.eval()
    for drawn in sampler.batches(num_episodes, 1):
        batch = episode_images(images, drawn).to(device)
        places = _at_once(batch.labels, sampler.spec.way, method.queries_at_once)
        with torch.inference_mode(), autocast(device, precision):
            parts = [replace(batch, query=batch.query[:, at], labels=batch.labels[:, at]) for at in places]
            logits = torch.cat([method.scored(*method.embed_episode(part)) for part in parts], dim=1)
        yield drawn, logits[:, torch.cat(places).argsort()]


def _at_once(labels: Int64[Tensor, "1 queries"], way: int, queries_of_class: int) -> list[Int64[Tensor, " part"]]:
    """The places of the queries, in parts that hold so many of each class; 0: in one part, as they come."""
    if not queries_of_class:
        return [torch.arange(labels.shape[1], device=labels.device)]
    of_class = torch.unflatten(labels[0].argsort(stable=True), 0, (way, -1))
    return [part.flatten() for part in torch.split(of_class, queries_of_class, dim=1)]


def _scored_by_readout(
    readout: Readout, table: Tensor, train_mean: Tensor | None, sampler: EpisodeSampler, num_episodes: int
) -> Iterator[Scored]:
    spec = sampler.spec
    with torch.inference_mode():
        rows = readout.prepare(table, train_mean)
    peak = readout.peak_elements(spec.way, spec.shot, spec.num_queries, table.shape[1])
    for drawn in sampler.batches(num_episodes, _episodes_at_once(peak, table.device)):
        episode = drawn.to(table.device)
        with torch.inference_mode():
            logits = readout.logits(gather(rows, episode.support), gather(rows, episode.query))
        yield drawn, logits


def _episodes_at_once(peak_elements: int, device: torch.device) -> int:
    chunks = 1 if device.type == "cpu" else _GPU_CHUNKS
    return max(1, min(512, chunks * _SCORING_CHUNK_ELEMENTS // peak_elements))


def _counted(
    scored: Iterable[Scored],
    sampler: EpisodeSampler,
    num_episodes: int,
    progress: Progress = silent,
    seconds: float = 0.0,
    keep_predictions: bool = False,
) -> Evaluation:
    """Correctly classified queries of each episode and, if wanted, all predictions; ``seconds`` were spent before."""
    start = time.perf_counter()
    correct = np.empty(num_episodes, np.uint16)
    kept: list[tuple[npt.NDArray[Any], ...]] = []
    class_ids, done = sampler.image_set.class_ids, 0
    for drawn, logits in scored:
        best = logits.argmax(-1).cpu()
        correct[done : done + len(best)] = _hits(logits, drawn.labels.to(logits.device), done)
        if keep_predictions:
            classes = class_ids[drawn.support[:, :, 0]].gather(1, best)
            confidence = logits.float().softmax(-1).amax(-1)
            kept.append(tuple(part.numpy(force=True) for part in (drawn.query, classes, confidence)))
        done += len(best)
        progress("testing", done, num_episodes)
    predictions = _joined(kept, sampler) if keep_predictions else None
    spent = seconds + time.perf_counter() - start
    return Evaluation(correct, sampler.spec.num_queries, spent, predictions, unit_of(sampler.published_as))


def _joined(kept: Sequence[tuple[npt.NDArray[Any], ...]], sampler: EpisodeSampler) -> Predictions:
    """What was kept of each chunk (rows of the queries, predicted classes, confidence), in one."""
    images, predicted, confidences = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    class_ids = sampler.image_set.class_ids.numpy()
    ids = (images.astype(np.int32), class_ids[images].astype(np.int32), predicted.astype(np.int32))
    return Predictions(sampler.image_set.class_names, *ids, confidences.astype(np.float32), len(class_ids))


def _hits(
    logits: Float[Tensor, "batch queries way"], labels: Int64[Tensor, "batch queries"], first: int
) -> npt.NDArray[np.uint16]:
    """Correct queries of each episode, the first of which has the number ``first``.

    Where several classes score highest alike, a query counts for the chance of guessing right among them. The sum is
    rounded up or down by a fixed sequence, evenly spread over the numbers of the episodes, so that the mean is right.
    Raises NotFiniteError where the highest score is no number.
    """
    best = logits.amax(-1, keepdim=True)
    if not bool(best.isfinite().all()):
        raise NotFiniteError(
            "the scores are not finite numbers: the embeddings overflow in single precision, or the weights are damaged"
        )
    right, highest = (logits.gather(-1, labels[..., None]) == best).squeeze(-1), logits == best
    if int(highest.count_nonzero()) == best.numel():  # no tie anywhere
        return np.asarray(right.sum(1).cpu().numpy(), np.uint16)
    expected = (right / highest.sum(-1)).sum(-1, dtype=torch.float64).cpu().numpy().round(6)
    numbers = np.arange(first, first + len(logits), dtype=np.int64)
    rounding = numbers * 40_503 % 65_536 / 65_536  # 65,536 times the golden section, hence evenly spread
    return np.asarray(expected + rounding, np.float64).astype(np.uint16)


def refuse_not_finite(table: Float[Tensor, "num_images *feature"]) -> None:
    """Raises NotFiniteError where an embedding is not made of numbers."""
    if bool(table.isfinite().all()):
        return
    wrong = int((~table.flatten(1).isfinite().all(1)).sum())
    raise NotFiniteError(
        f"{wrong:,} of {len(table):,} embeddings hold NaN or infinite numbers: the weights are damaged, or too large "
        "for the precision; train again with --fresh, or test with --precision fp32"
    )


def evaluate(
    method: Method,
    sampler: EpisodeSampler,
    num_episodes: int,
    precision: Precision = "fp32",
    progress: Progress = silent,
    table: Float[Tensor, "num_images *feature"] | None = None,
    *,
    keep_predictions: bool = False,
) -> Evaluation:
    """Accuracy of ``method`` on the first ``num_episodes`` episodes of ``sampler``.

    Each image that is drawn is embedded once (or ``table`` holds what it gave before), in evaluation mode: batch norm
    uses the running statistics of training, so no query sees another. A method that must see the pixels of an episode
    together is given them so. With ``keep_predictions`` the result tells of every query, not only how many were
    correct: 16 bytes a query.
    Raises UntrainedError for a method whose rule is a network that was never trained, NotFiniteError where embeddings
    or scores are no numbers.
    """
    method.refuse_untrained()
    _refuse_uncountable(sampler, num_episodes)
    start = time.perf_counter()
    if method.embeds_per_episode:
        scored = _scored_together(method, sampler, num_episodes, precision)
    else:
        if table is None:
            rows = drawn_rows([sampler], num_episodes)
            table = embed_drawn(method, sampler.image_set.images, rows, precision, progress)
        refuse_not_finite(table)
        scored = _scored_on_table(method, table, sampler, num_episodes, precision)
    return _counted(scored, sampler, num_episodes, progress, time.perf_counter() - start, keep_predictions)


def evaluate_readout(
    readout: Readout,
    table: Float[Tensor, "num_images dim"],
    train_mean: Float[Tensor, " dim"] | None,
    sampler: EpisodeSampler,
    num_episodes: int,
    progress: Progress = silent,
    *,
    keep_predictions: bool = False,
) -> Evaluation:
    """Accuracy of a read-out on the very episodes that ``evaluate`` uses; row i of the table embeds image i of the set.

    A read-out gets all queries of an episode at once. Unlabeled images stay unused. Embeddings are read in full
    precision.
    """
    _refuse_uncountable(sampler, num_episodes)
    refuse_not_finite(table)
    start = time.perf_counter()
    scored = _scored_by_readout(readout, table, train_mean, sampler, num_episodes)
    return _counted(scored, sampler, num_episodes, progress, time.perf_counter() - start, keep_predictions)


def _refuse_uncountable(sampler: EpisodeSampler, num_episodes: int) -> None:
    if num_episodes < 1:
        raise EpisodeError(f"a test has 1 episode or more, not {num_episodes}")
    if sampler.spec.num_queries > _MOST_QUERIES:
        raise EpisodeError(
            f"an episode of {sampler.spec.num_queries:,} queries cannot be counted: take at most {_MOST_QUERIES:,}"
        )
