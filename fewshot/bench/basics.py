"""What every measurement shares: the settings, images, a method to time, a clock, a fresh process, a figure."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
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

_SHORTEST = 1e-3  # seconds that anything repeated is repeated for

R = TypeVar("R")
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

    def __str__(self) -> str:
        return self.name


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


def in_a_process(function: Callable[..., R], *given: Any) -> R:
    """What a function returns, called in a fresh process.

    So nothing that was imported, allocated or set here changes what is measured there.
    """
    spawn, ends_on_ctrl_c = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(1, spawn, initializer=signal.signal, initargs=ends_on_ctrl_c) as pool:
        try:
            return pool.submit(function, *given).result()
        except Exception as error:
            words = " ".join(map(str, given))
            raise UserError(f"measuring {function.__name__} {words} failed: {type(error).__name__}: {error}") from error


def image_set(setting: Workload, root: Path | None, split: Split) -> tuple[ImageSet, str]:
    """The real images where they are on this machine, else random pixels of the same shape; and which it is."""
    dataset = dataset_class(setting.dataset)(root)
    if dataset.is_present():
        return dataset.load(split, Reporter().data_progress), "real images"
    classes, per_class = setting.stand_in
    pixels = np.random.default_rng(0).integers(0, 256, (classes * per_class, *setting.image_shape), np.uint8)
    return in_equal_classes(torch.from_numpy(pixels), classes, split, setting.dataset), "random pixels"


def in_equal_classes(images: Tensor, num_classes: int, split: Split, name: str = "bench") -> ImageSet:
    """Images as classes of equal size; what does not divide is left out."""
    starts = np.arange(num_classes + 1, dtype=np.int64) * (len(images) // num_classes)
    return ImageSet(images[: starts[-1]], starts, ("",) * num_classes, name, split)
