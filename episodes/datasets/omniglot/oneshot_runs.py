"""Lake's within-alphabet task: the 20 published one-shot runs, as they are and not as somebody would draw them.

Each run shows 20 characters of one alphabet, drawn once by one person, and asks for 20 drawings of another: 400 trials
of 20-way 1-shot in all (Lake et al. 2015). Runs 1 and 2 are of one alphabet, 3 and 4 of the next, and so on through ten
evaluation alphabets: an interval counts alphabets (``episodes.spec.Unit``). Which drawing belongs to which character
stands in each run's ``class_labels.txt`` and nowhere else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageChops

from episodes.datasets.base import Dataset
from episodes.datasets.omniglot.dataset import Omniglot, pixels
from episodes.images.decoding import opened as opened_picture
from episodes.images.zip_files import UNREADABLE, read_member
from episodes.sampler import EpisodeSampler
from episodes.spec import RUNS, EpisodeSpec
from episodes.types import DataError, Episode, EpisodeError, ImageSet

NUM_RUNS, WAY = 20, 20
ARCHIVE = "all_runs.zip"
_MOST_BYTES = 1 << 20  # of a member once it is unpacked; the published ones have less than 2,000
_SOURCE = "github.com/brendenlake/omniglot, folder python/one-shot-classification"


class RunsSampler(EpisodeSampler):
    """The 20 runs as episodes 0 to 19: the characters in the order of their files, the queries in that of theirs.

    Row ``2 * (20 * run + character)`` of the image set is the character's support, the row after it its query.
    """

    published_as: ClassVar[str] = RUNS

    def __init__(self, image_set: ImageSet, answers: torch.Tensor) -> None:
        """``answers`` (runs, 20): the character, 0 to 19, of each run's queries in the order of their files."""
        super().__init__(image_set, EpisodeSpec(WAY, 1, 1), seed=0)
        self.answers = answers

    def batch(self, first: int, count: int) -> Episode:
        """Runs ``first`` to ``first + count - 1``. Raises EpisodeError where there are none."""
        if first + count > len(self.answers):
            raise EpisodeError(f"there are {len(self.answers)} runs, not {first + count}")
        runs = torch.arange(first, first + count)[:, None]
        labels = self.answers[first : first + count]
        support = 2 * (WAY * runs + torch.arange(WAY))
        return Episode(support[:, :, None], 2 * (WAY * runs + labels) + 1, labels)


def oneshot_runs(dataset: Dataset) -> RunsSampler:
    """The 20 runs of the zip file beside Omniglot's images. Their alphabets are those of the lake split's test classes.

    Raises DataError for any other data set, and for a split that trains on characters of the runs.
    """
    if not isinstance(dataset, Omniglot):
        raise DataError("Lake's 20 runs are of Omniglot: use --dataset omniglot --split lake")
    if dataset.class_split != "lake":
        raise DataError("the vinyals split trains on characters of Lake's 20 runs: use --split lake")
    size = dataset.size
    return read_runs(dataset.location() / ARCHIVE, lambda drawing: pixels(ImageChops.invert(drawing), 0, size))


def read_runs(archive: Path, draw: Callable[[Image.Image], Image.Image]) -> RunsSampler:
    """The runs of the published zip file; ``draw`` turns a file's drawing into the pixels of the data set.

    Raises DataError when the file is missing or is another one.
    """
    if not archive.is_file():
        raise DataError(f"Lake's 20 runs are not here: put {ARCHIVE} ({_SOURCE}) into {archive.parent}")
    try:
        with zipfile.ZipFile(archive) as opened:
            answers = torch.tensor([_answers(opened, run) for run in range(1, NUM_RUNS + 1)])
            images = [
                np.asarray(draw(_drawing(opened, name)))
                for run, items in enumerate(_items(answers), start=1)
                for character, item in enumerate(items, start=1)
                for name in (_character(run, character), _item(run, item))
            ]
    except UNREADABLE as error:
        raise DataError(f"{archive} does not hold Lake's 20 runs ({error}): fetch it again ({_SOURCE})") from error
    names = tuple(f"run{run:02d}/class{number:02d}" for run in range(1, NUM_RUNS + 1) for number in range(1, WAY + 1))
    starts = 2 * np.arange(len(names) + 1, dtype=np.int64)
    stacked = torch.from_numpy(np.stack(images))[:, None]  # (images, 1, height, width)
    image_set = ImageSet(stacked, starts, names, "omniglot", "test")
    return RunsSampler(replace(image_set, fingerprint=image_set.pixels_digest), answers)


def _character(run: int, number: int) -> str:
    return f"run{run:02d}/training/class{number:02d}.png"


def _item(run: int, number: int) -> str:
    return f"run{run:02d}/test/item{number:02d}.png"


def _answers(opened: zipfile.ZipFile, run: int) -> list[int]:
    """The character, 0 to 19, of item01, item02, ... of a run, as its ``class_labels.txt`` pairs them."""
    text = read_member(opened, f"run{run:02d}/class_labels.txt", _MOST_BYTES).decode("ascii")
    pairs = dict(line.split() for line in text.splitlines() if line.strip())
    characters = {_character(run, number): number - 1 for number in range(1, WAY + 1)}
    found = [characters[pairs[_item(run, number)]] for number in range(1, WAY + 1)]
    if len(pairs) != WAY or sorted(found) != list(range(WAY)):
        raise ValueError(f"run {run} does not ask for each of its {WAY} characters once")
    return found


def _items(answers: torch.Tensor) -> list[list[int]]:
    """For each run and character the number, from 1, of the item that shows it."""
    return [[int(item) + 1 for item in run.argsort()] for run in answers]


def _drawing(opened: zipfile.ZipFile, name: str) -> Image.Image:
    with opened_picture(read_member(opened, name, _MOST_BYTES)) as image:
        return image.convert("L")
