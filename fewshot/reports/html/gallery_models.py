"""Weights and images -> the gallery: the only part of the report that runs a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from episodes.datasets.cards import DATASETS
from episodes.datasets.corruption import corrupted
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import Episode, ImageSet
from fewshot.evaluation.embedding_cache import Embeddings
from fewshot.evaluation.evaluate import embed_all, evaluate, evaluate_readout
from fewshot.experiments.measure import dataset_of_training
from fewshot.experiments.verify import spec_of
from fewshot.models.batches import episode_images
from fewshot.models.factory import load_trained
from fewshot.models.hardware import Precision, autocast, choose_device, choose_precision
from fewshot.models.methods import Method
from fewshot.models.readouts import READOUTS
from fewshot.progress import Reporter
from fewshot.reports.html.class_results import class_results, embedding_map, thumbnail
from fewshot.reports.html.gallery import (
    Gallery,
    GalleryEpisode,
    Kind,
    ModelView,
    episodes_to_look_at,
    rows_to_look_at,
    training_of,
)
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.reports.names import typed_dataset
from fewshot.reports.plots.embedding_map import project
from fewshot.training.checkpoints import CHECKPOINT

_CPU = torch.device("cpu")


def look(
    boards: Sequence[Board], weights: Sequence[Path], data: Path | None, reporter: Reporter, *, own: bool = True
) -> Gallery:
    """The gallery of the usual 5-way 1-shot boards of data sets whose images may be passed on.

    With ``own`` also that of the user's own images, which lie where the command of their record says. ``weights`` are
    folders with ``<training>.safetensors`` or ``<training>/checkpoint.safetensors``. What is missing is said and left
    out. Raises UserError where nothing at all can be looked at.
    """
    found = Gallery()
    for board in boards:
        if own and board.is_own:
            found = _together(found, look_at_own(board, weights, data, reporter))
        elif (board.protocol.way, board.protocol.shot) == (5, 1) and board.is_usual and _is_shareable(board):
            found = _together(found, _look_at(board, weights, data, reporter))
    if found == Gallery():
        raise UserError(
            "nothing to look at: closeups need a 5-way 1-shot record of omniglot or strokes, or one of your own "
            "images, with its weights under results/weights or the folder of --out (`fewshot run` makes them)"
        )
    return found


def _together(first: Gallery, second: Gallery) -> Gallery:
    """What both hold."""
    return Gallery(
        episodes=first.episodes + second.episodes,
        classes=first.classes + second.classes,
        maps=first.maps + second.maps,
    )


def _is_shareable(board: Board) -> bool:
    """Whether the images may be copied into a file that is passed on; photographs belong to those who took them."""
    dataset = board.rows[0].first.test.dataset
    return dataset in DATASETS and DATASETS.get(dataset).shareable


def _look_at(board: Board, weights: Sequence[Path], data: Path | None, reporter: Reporter) -> Gallery:
    here = [(row, path) for row in rows_to_look_at(board) if (path := weights_of(row, weights))]
    if not here:
        return Gallery()
    record = here[0][0].first
    dataset = open_dataset(record.test.dataset, data, record.test.class_split, reporter=reporter)
    image_set = dataset.load("test", reporter.data_progress)
    sampler = EpisodeSampler(image_set, EpisodeSpec(5, 1, record.test.query), record.episode_seed)
    if sampler.digest(record.num_episodes) != board.digest:
        reporter.say(f"{board.name}: the images here are not those of the records; left out")
        return Gallery()
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
    if method.embeds_per_episode:
        return Gallery(episodes=tuple(episodes))
    precision, digest = choose_precision("auto", _CPU), board.digest  # the precision that suits this machine
    table = embed_all(method, image_set.images, precision, reporter.data_progress)
    results = evaluate(
        method, sampler, board.num_episodes, precision, reporter.data_progress, table, keep_predictions=True
    )
    return Gallery(
        episodes=tuple(episodes),
        classes=(class_results(row, digest, results, image_set),),
        maps=(embedding_map(table, image_set, training_of(row), digest),),
    )


def look_at_own(board: Board, weights: Sequence[Path], data: Path | None, reporter: Reporter) -> Gallery:
    """The user's own images, as the best row sees them."""
    row = (board.ranked or board.rows)[0]
    record, path = row.first, weights_of(row, weights)
    images = typed_dataset(record.command)
    if path is None or not images or not Path(images).exists():
        reporter.say(f"{board.name}: {'no weights' if path is None else 'no images'} here; left out")
        return Gallery()
    split, shape = record.test.class_split, record.trained.image_shape
    dataset = corrupted(open_dataset(images, data, split, reporter=reporter, image_shape=shape), record.test.corruption)
    image_set = dataset.load("test", reporter.data_progress)
    sampler = EpisodeSampler(image_set, spec_of(record), record.episode_seed)
    if sampler.digest(record.num_episodes) != board.digest:
        reporter.say(f"{board.name}: the images in {images} are not those of the records; left out")
        return Gallery()
    trained, episodes = load_trained(path, choose_device("cpu")), record.num_episodes
    method = trained.method
    if method.embeds_per_episode:
        found = evaluate(method, sampler, episodes, progress=reporter.data_progress, keep_predictions=True)
        return Gallery(classes=(class_results(row, board.digest, found, image_set),))
    kept = path.parents[2] / "embeddings" if path.name == CHECKPOINT else None  # where its run has left them
    trained_on = partial(dataset_of_training, trained.metadata, dataset, reporter)
    embeddings = Embeddings(method, dataset, _precision(row), reporter, kept, trained_on=trained_on)
    table = embeddings.table(image_set)
    if record.readout:
        rule = READOUTS.get(record.readout)()
        mean = embeddings.train_mean() if rule.needs_train_mean else None
        found = evaluate_readout(rule, table, mean, sampler, episodes, keep_predictions=True)
    else:
        found = evaluate(method, sampler, episodes, table=table, keep_predictions=True)
    drawn = embedding_map(table, image_set, training_of(row), board.digest)
    return Gallery(classes=(class_results(row, board.digest, found, image_set),), maps=(drawn,))


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
        tuple(thumbnail(image_set, row) for row in rows),
        tuple(views),
    )
