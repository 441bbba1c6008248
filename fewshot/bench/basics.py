"""What every measurement shares: the settings, images, a method to time, a clock, a fresh process, a figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import Timer

from episodes.datasets.base import dataset_class
from episodes.errors import UserError
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet, Split
from fewshot.models.factory import build_method, place
from fewshot.models.hardware import choose_device, choose_precision, describe_machine
from fewshot.models.methods import METHODS, Method
from fewshot.progress import Reporter
from fewshot.records.provenance import commit, versions

_CALL = "import json, sys; from {module} import {function}; print(json.dumps({function}(*sys.argv[1:])))"
_SHORTEST = 1e-3  # seconds that anything repeated is repeated for

Action = Callable[[], object]
Figure = dict[str, Any]


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


def figure(name: str, value: float, unit: str, what: str) -> Figure:
    """One figure, with its unit and what exactly was timed."""
    return {"name": name, "value": value, "unit": unit, "what": what}


def about_here() -> dict[str, Any]:
    """Machine, versions, commit, and how many processes want to compute here: other work, if it is asked for first."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0
    return {"machine": describe_machine(choose_device()), "versions": versions(), "commit": commit(), "load": load}


def setting_named(name: str) -> Workload:
    """The setting of that name."""
    return next(setting for setting in SETTINGS if setting.name == name)


def fresh_method(name: str, image_shape: tuple[int, int, int], num_classes: int = 1) -> Method:
    """A method with the weights that it begins with, on the device: speed is the same."""
    encoder = METHODS.get(name).default_encoder
    return place(build_method(name, {}, encoder, {}, image_shape, seed=0, num_classes=num_classes), choose_device())


def precision_here() -> Any:
    """The precision that is chosen on this machine, ``"bf16"`` or ``"fp32"``."""
    return choose_precision("auto", choose_device())


def seconds(action: Action) -> float:
    """Wall time of one call, that of the GPU included."""
    start = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def best_seconds(action: Action, budget: float) -> float:
    """Wall time of the fastest of as many calls as fit into ``budget`` seconds."""
    timer = Timer("action()", globals={"action": action}, num_threads=torch.get_num_threads())
    return float(min(timer.blocked_autorange(min_run_time=max(budget, _SHORTEST)).times))


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


def image_set(setting: Workload, root: Path | None, split: Split) -> tuple[ImageSet, str]:
    """The real images where they are on this machine, else random pixels of the same shape; and which it is."""
    dataset = dataset_class(setting.dataset)(root)
    if dataset.is_present():
        return dataset.load(split, Reporter().data_progress), "real images"
    classes, per_class = setting.stand_in
    pixels = np.random.default_rng(0).integers(0, 256, (classes * per_class, *setting.image_shape), np.uint8)
    starts = np.arange(classes + 1, dtype=np.int64) * per_class
    names = tuple(map(str, range(classes)))
    return ImageSet(torch.from_numpy(pixels), starts, names, setting.dataset, split), "random pixels"
