"""Weights and images -> the gallery: the only part of the report that runs a model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import Episode, ImageSet
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.batches import episode_images
from fewshot.models.factory import load_trained
from fewshot.models.hardware import Precision, autocast, choose_device, choose_precision
from fewshot.models.methods import Method
from fewshot.progress import Reporter
from fewshot.reports.html.gallery import (
    ClassResults,
    Gallery,
    GalleryEpisode,
    Kind,
    ModelView,
    SeenClass,
    episodes_to_look_at,
    rows_to_look_at,
    training_of,
)
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.training.checkpoints import CHECKPOINT

_SHOWN_CLASSES = 18
_SHOWN_PAIRS = 12
_CPU = torch.device("cpu")


def look(boards: Sequence[Board], weights: Sequence[Path], data: Path | None, reporter: Reporter) -> Gallery:
    """The gallery of the usual 5-way 1-shot boards of data sets whose images may be passed on.

    ``weights`` are folders with ``<training>.safetensors`` or ``<training>/checkpoint.safetensors``. What is missing is
    said and left out. Raises UserError where nothing at all can be looked at.
    """
    episodes: list[GalleryEpisode] = []
    classes: list[ClassResults] = []
    for board in boards:
        if (board.protocol.way, board.protocol.shot) == (5, 1) and board.is_usual and _is_shareable(board):
            found, of_best = _look_at(board, weights, data, reporter)
            episodes += found
            classes += of_best
    if not episodes:
        raise UserError(
            "nothing to look at: closeups need a 5-way 1-shot record of omniglot or strokes with its weights under "
            "results/weights or the folder of --out (`fewshot run` makes them)"
        )
    return Gallery(episodes=tuple(episodes), classes=tuple(classes))


def _is_shareable(board: Board) -> bool:
    """Whether the images may be copied into a file that is passed on; photographs belong to those who took them."""
    dataset = board.rows[0].first.test.dataset
    return dataset in DATASETS and DATASETS.get(dataset).shareable


def _look_at(
    board: Board, weights: Sequence[Path], data: Path | None, reporter: Reporter
) -> tuple[list[GalleryEpisode], list[ClassResults]]:
    here = [(row, path) for row in rows_to_look_at(board) if (path := weights_of(row, weights))]
    if not here:
        return [], []
    record = here[0][0].first
    dataset = open_dataset(record.test.dataset, data, record.test.class_split, reporter=reporter)
    image_set = dataset.load("test", reporter.data_progress)
    sampler = EpisodeSampler(image_set, EpisodeSpec(5, 1, record.test.query), record.episode_seed)
    if sampler.digest(record.num_episodes) != board.digest:
        reporter.say(f"{board.name}: the images here are not those of the records; left out")
        return [], []
    chosen = episodes_to_look_at(np.stack([row.accuracies for row, _ in here]))
    views: dict[int, list[ModelView]] = {index: [] for _, index in chosen}
    for number, (row, path) in enumerate(here, 1):
        method = load_trained(path, choose_device("cpu")).method.eval()
        for index, seen in views.items():
            seen.append(_view(method, row, image_set, sampler[index]))
        reporter.data_progress(f"closeups of {board.name}", number, len(here))
    row, path = next(((row, path) for row, path in here if row.is_ranked), here[0])
    episodes = [_episode(kind, board, image_set, sampler[index], index, views[index]) for kind, index in chosen]
    method = load_trained(path, choose_device("cpu")).method
    return episodes, [] if method.embeds_per_episode else [_class_results(row, board, method, sampler, reporter)]


def weights_of(row: NamedRow, folders: Sequence[Path]) -> Path | None:
    """The file with the weights of a row; None where it is in no folder."""
    name = training_of(row)
    files = (path for folder in folders for path in (folder / f"{name}.safetensors", folder / name / CHECKPOINT))
    return next((path for path in files if path.is_file()), None)


def _precision(row: NamedRow) -> Precision:
    return choose_precision(row.first.test.precision or "auto", _CPU)


def _view(method: Method, row: NamedRow, image_set: ImageSet, episode: Episode) -> ModelView:
    batch = episode_images(image_set.images, episode)
    with torch.inference_mode(), autocast(_CPU, _precision(row)):
        support, query, unlabeled = method.embed_episode(batch)
        predicted = method.scored(support, query, unlabeled).argmax(-1)[0]
    embeddings = torch.cat([support[0].flatten(0, 1), query[0]]).flatten(1)
    adapts = tuple(query.shape[2:]) == image_set.image_shape  # such a method embeds an image as the image itself
    places, share = ((), 0.0) if adapts else project(embeddings.float())
    return ModelView(training_of(row), places, share, tuple(predicted.tolist()))


def project(embeddings: Float[Tensor, "n dim"]) -> tuple[tuple[tuple[int, int], ...], float]:
    """The first two principal components, as whole numbers from 0 to 1000, and their share of the variance.

    Each component points where its largest coordinate is positive, so that the same embeddings give the same picture.
    """
    centered = embeddings.double() - embeddings.double().mean(dim=0)
    left, sizes, _ = torch.linalg.svd(centered, full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    signs = flat.gather(0, flat.abs().argmax(dim=0, keepdim=True)).sign()
    flat = flat * torch.where(signs == 0, 1.0, signs)
    share = float(sizes[:2].square().sum() / sizes.square().sum().clamp_min(1e-30))
    low, extent = flat.min(dim=0).values, (flat.max(dim=0).values - flat.min(dim=0).values).max().clamp_min(1e-30)
    middle = (flat.max(dim=0).values + low) / 2
    scaled = (500 + 1000 * (flat - middle) / extent).round().long()
    return tuple((int(x), int(y)) for x, y in scaled.tolist()), round(share, 4)


def _episode(
    kind: Kind, board: Board, image_set: ImageSet, episode: Episode, index: int, views: Sequence[ModelView]
) -> GalleryEpisode:
    rows = [*episode.support[0].flatten().tolist(), *episode.query[0].tolist()]
    classes = [int(image_set.class_ids[row]) for row in episode.support[0, :, 0].tolist()]
    return GalleryEpisode(
        kind,
        board.digest,
        index,
        tuple(image_set.class_names[number] for number in classes),
        board.protocol.shot,
        tuple(episode.labels[0].tolist()),
        tuple(_png(image_set, row) for row in rows),
        tuple(views),
    )


def _class_results(
    row: NamedRow, board: Board, method: Method, sampler: EpisodeSampler, reporter: Reporter
) -> ClassResults:
    """Every prediction of one model, counted class by class; in the precision that suits this machine."""
    precision, image_set = choose_precision("auto", _CPU), sampler.image_set
    progress = reporter.data_progress
    found = evaluate(method, sampler, board.num_episodes, precision, progress, keep_predictions=True)
    assert found.predictions is not None
    per_class, confusion, calibration = found.per_class(), found.confusion(), found.calibration()
    either_way = np.triu(confusion + confusion.T, 1)
    pairs = np.argsort(-either_way, axis=None, kind="stable")[:_SHOWN_PAIRS]
    drawn = per_class[per_class["queries"] > 0]
    hardest = drawn.sort_values("accuracy", kind="stable")[:_SHOWN_CLASSES]
    asked = found.predictions.class_ids  # (episodes, queries)

    def seen(classes: Sequence[int], wrong: int, queries: int) -> SeenClass:
        images = tuple(_png(image_set, int(image_set.class_starts[number])) for number in classes)
        return SeenClass(tuple(image_set.class_names[number] for number in classes), images, wrong, queries)

    def together(first: int, second: int) -> int:
        """Queries of both classes in episodes that hold both."""
        both = asked[(asked == first).any(axis=1) & (asked == second).any(axis=1)]
        return int(np.isin(both, (first, second)).sum())

    of_class = zip(hardest["class_id"], hardest["queries"], hardest["correct"], strict=True)
    of_pair = [divmod(int(pair), image_set.num_classes) for pair in pairs if either_way.flat[pair]]
    bins = zip(calibration.confidence, calibration.accuracy, calibration.counts, strict=True)
    return ClassResults(
        training_of(row),
        board.digest,
        tuple(round(float(accuracy), 4) for accuracy in drawn["accuracy"]),
        tuple(seen([number], int(queries - correct), int(queries)) for number, queries, correct in of_class),
        tuple(seen(pair, int(either_way[pair]), together(*pair)) for pair in of_pair),
        tuple((round(float(sure), 5), round(float(right), 5), int(count)) for sure, right, count in bins if count),
        round(calibration.expected_error, 5),
    )


def _png(image_set: ImageSet, row: int) -> bytes:
    """Dark ink on white, in 16 grays."""
    ink = image_set.images[row, 0].numpy()
    gray = np.asarray((255 - ink) // 17 * 17, np.uint8)
    content = io.BytesIO()
    Image.fromarray(gray).quantize(16, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()
