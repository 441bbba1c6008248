"""Predictions on image files, many or few, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from episodes.errors import UserError, first_few
from episodes.images.decoding import (
    PICTURE_SUFFIXES,
    FilePicture,
    Preparation,
    decode_pictures,
    unreadable_lines,
)
from episodes.progress import silent
from fewshot.evaluation.classifier.model import SavedClassifier
from fewshot.evaluation.classifier.threshold import Threshold
from fewshot.progress import Reporter

_BATCH = 64  # images that are decoded and embedded at once


@dataclass(frozen=True)
class Prediction:
    """What is said of one file. ``label`` is None where it is rejected: an image of none of the classes."""

    file: str
    label: str | None
    probability: float  # of the likeliest class
    known: float  # how well the image is known, -1 to 1
    probabilities: tuple[float, ...]  # of every class


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The images that are named, and those in and below the folders that are named, in order.

    Raises UserError where something is not there, or a folder holds no image.
    """
    if absent := [str(path) for path in paths if not path.exists()]:
        raise UserError(f"there is no image or folder {first_few(absent)}")
    found: list[Path] = []
    for path in paths:
        inside = [path] if path.is_file() else sorted(p for p in path.rglob("*") if _is_picture(p))
        if not inside:
            raise UserError(f"{path} holds no image")
        found += inside
    return list(dict.fromkeys(found))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def predictions(
    classifier: SavedClassifier,
    files: Sequence[Path],
    threshold: Threshold | None = None,
    reporter: Reporter | None = None,
    problems: list[str] | None = None,
) -> Iterator[Prediction]:
    """A prediction for each file that can be read; the others are named in ``problems``, a line for each kind.

    With a ``threshold`` images that are known less have no label.
    """
    reporter = reporter or Reporter()
    least = -np.inf if threshold is None else threshold.least
    channels, side, _ = classifier.image_shape
    names = classifier.class_names
    for first in range(0, len(files), _BATCH):
        part = [FilePicture(str(path), str(path)) for path in files[first : first + _BATCH]]
        pixels = np.zeros((len(part), channels, side, side), np.uint8)
        unreadable = decode_pictures(part, pixels, Preparation(channels, side, center_crop=True), "reading", silent)
        if unreadable and problems is not None:
            problems += unreadable_lines(unreadable)
        bad = {picture.name for picture in unreadable}
        rows = [row for row, picture in enumerate(part) if picture.name not in bad]
        if rows:
            found, known = classifier.predict(torch.from_numpy(pixels[rows]))
            for row, of_classes, score in zip(rows, found.tolist(), known.tolist(), strict=True):
                best = int(np.argmax(of_classes))
                label = names[best] if score >= least else None
                yield Prediction(part[row].name, label, of_classes[best], score, tuple(of_classes))
        reporter.test_progress("predicting", first + len(part), len(files))
