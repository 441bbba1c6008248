"""Weights and images -> closeups: the only part of the report that runs a model."""

from __future__ import annotations

import base64
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
from fewshot.models.batches import episode_images
from fewshot.models.factory import load_trained
from fewshot.models.hardware import autocast, choose_device
from fewshot.models.methods import Method
from fewshot.progress import Reporter
from fewshot.records.record import RunRecord
from fewshot.reports.html.gallery import Closeup, View, entries_to_look_at, episodes_to_look_at
from fewshot.reports.html.row_names import Cell, Entry
from fewshot.training.checkpoints import CHECKPOINT, training_name


def look(cells: Sequence[Cell], weights: Sequence[Path], data: Path | None, reporter: Reporter) -> list[Closeup]:
    """Closeups of the 5-way 1-shot cells of data sets that may be shown.

    ``weights`` are folders with ``<training>.safetensors`` or ``<training>/checkpoint.safetensors``. What is missing is
    said and left out. Raises UserError where nothing at all can be looked at.
    """
    found: list[Closeup] = []
    for cell in cells:
        record = cell.entries[0].record
        if (cell.way, cell.shot) == (5, 1) and _may_be_shown(record.config["dataset"]) and cell.rest == "q15@v1":
            found += _look_at(cell, weights, data, reporter)
    if not found:
        raise UserError(
            "nothing to look at: closeups need a 5-way 1-shot record of omniglot or strokes with its weights under "
            "results/weights or the folder of --out (`fewshot run` makes them)"
        )
    return found


def _may_be_shown(name: str) -> bool:
    """Photographs belong to those who took them, as do a user's own images."""
    return name in DATASETS and DATASETS.get(name).shareable


def _look_at(cell: Cell, weights: Sequence[Path], data: Path | None, reporter: Reporter) -> list[Closeup]:
    record = cell.entries[0].record
    here = [(entry, path) for entry in entries_to_look_at(cell) if (path := weights_of(entry.record, weights))]
    if not here:
        return []
    dataset = open_dataset(record.config["dataset"], data, record.config.get("class_split"), reporter=reporter)
    image_set = dataset.load("test", reporter.data_progress)
    spec = EpisodeSpec(cell.way, cell.shot, record.config["query"])
    sampler = EpisodeSampler(image_set, spec, record.episode_seed)
    if sampler.digest(record.num_episodes) != cell.digest:
        reporter.say(f"{cell.name}: the images here are not those of the records; left out")
        return []
    chosen = episodes_to_look_at(np.stack([entry.accuracies for entry, _ in here]))
    views: dict[int, list[View]] = {index: [] for _, index in chosen}
    for number, (entry, path) in enumerate(here, 1):
        method = load_trained(path, choose_device("cpu")).method.eval()
        for index, seen in views.items():
            seen.append(_view(method, entry, image_set, sampler[index]))
        reporter.data_progress(f"closeups of {cell.name}", number, len(here))
    return [
        _closeup(kind, cell, image_set, sampler[index], index, views[index], record.protocol) for kind, index in chosen
    ]  # fmt: skip


def weights_of(record: RunRecord, folders: Sequence[Path]) -> Path | None:
    """The file with the weights of a record; None where it is in no folder."""
    name = training_name(Path(record.config["checkpoint"]))
    files = (path for folder in folders for path in (folder / f"{name}.safetensors", folder / name / CHECKPOINT))
    return next((path for path in files if path.is_file()), None)


def _view(method: Method, entry: Entry, image_set: ImageSet, episode: Episode) -> View:
    batch = episode_images(image_set.images, episode)
    with torch.inference_mode(), autocast(torch.device("cpu"), entry.record.config["test_precision"]):
        support, query, unlabeled = method.embed_episode(batch)
        predicted = method.scored(support, query, unlabeled).argmax(-1)[0]
    embeddings = torch.cat([support[0].flatten(0, 1), query[0]]).flatten(1)
    adapts = tuple(query.shape[2:]) == image_set.image_shape  # such a method embeds an image as the image itself
    places, share = ((), 0.0) if adapts else project(embeddings.float())
    return View(entry.name, places, share, tuple(predicted.tolist()))


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


def _closeup(
    kind: str, cell: Cell, image_set: ImageSet, episode: Episode, index: int, views: list[View], protocol: str
) -> Closeup:
    rows = [*episode.support[0].flatten().tolist(), *episode.query[0].tolist()]
    classes = [int(image_set.class_ids[row]) for row in episode.support[0, :, 0].tolist()]
    return Closeup(
        kind="typical" if kind == "typical" else "hard",
        protocol=protocol,
        digest=cell.digest,
        index=index,
        class_names=tuple(image_set.class_names[class_id] for class_id in classes),
        shot=cell.shot,
        labels=tuple(episode.labels[0].tolist()),
        images=tuple(base64.b64encode(_png(image_set, row)).decode() for row in rows),
        views=tuple(views),
    )


def _png(image_set: ImageSet, row: int) -> bytes:
    """Dark ink on white, in 16 grays."""
    ink = image_set.images[row, 0].numpy()
    gray = np.asarray((255 - ink) // 17 * 17, np.uint8)
    content = io.BytesIO()
    Image.fromarray(gray).quantize(16, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()
