"""What every measurement shares: the settings, real or random images, a fresh process, a figure with its unit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes.datasets.base import dataset_class
from episodes.errors import UserError
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet, Split
from fewshot.progress import Reporter

_CALL = "import json, sys; from {module} import {function}; print(json.dumps({function}(*sys.argv[1:])))"


@dataclass(frozen=True)
class Workload:
    """A training and a test setting that users of the field know."""

    name: str
    dataset: str
    train: EpisodeSpec
    test: EpisodeSpec
    image_shape: tuple[int, int, int]
    stand_in: tuple[int, int]  # classes and images per class of the random pixels, where the real ones are absent


SETTINGS = (
    Workload("omniglot 60w1s5q", "omniglot", EpisodeSpec(60, 1, 5), EpisodeSpec(5, 1, 15), (1, 28, 28), (1692, 20)),
    Workload(
        "miniimagenet 5w5s15q", "miniimagenet", EpisodeSpec(5, 5, 15), EpisodeSpec(5, 1, 15), (3, 84, 84), (20, 600)
    ),
)


@dataclass(frozen=True)
class Measurement:
    """One figure, with its unit and what exactly was timed."""

    name: str
    value: float
    unit: str
    what: str


def load_before() -> float:
    """How many processes want to compute here, on the average of the last minute: other work than the bench's."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def setting_named(name: str) -> Workload:
    """The setting of that name."""
    return next(setting for setting in SETTINGS if setting.name == name)


def in_a_process(place_and_name: str, *words: str) -> Any:
    """What ``package.module:function`` returns for these words, called in a fresh process.

    So nothing that was imported, allocated or set here changes what is measured there.
    """
    module, _, function = place_and_name.partition(":")
    code = _CALL.format(module=module, function=function)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"measuring {' '.join((place_and_name, *words))} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def image_set(setting: Workload, root: Path | None, split: Split, reporter: Reporter) -> tuple[ImageSet, str]:
    """The real images where they are on this machine, else random pixels of the same shape; and which it is."""
    dataset = dataset_class(setting.dataset)(root)
    if dataset.is_present():
        return dataset.load(split, reporter.data_progress), "real images"
    classes, per_class = setting.stand_in
    pixels = np.random.default_rng(0).integers(0, 256, (classes * per_class, *setting.image_shape), np.uint8)
    starts = np.arange(classes + 1, dtype=np.int64) * per_class
    names = tuple(map(str, range(classes)))
    return ImageSet(torch.from_numpy(pixels), starts, names, setting.dataset, split), "random pixels"


def synchronized() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
