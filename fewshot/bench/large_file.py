"""fewshot bench --large-file GB: training from an image file that is larger than the machine's memory.

The file holds the drawn characters of ``strokes`` over and over, in classes of a thousand images; it is written on
the spot, put out of the system's cache, and removed again. Beside it stands a training from its first part, which
fits into memory: what the step takes, and what the process holds of memory that is not the file's own pages.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.files import data_root
from episodes.images.mapped_files import machine_memory, map_images
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.bench.basics import (
    Figure,
    about_here,
    figure,
    fresh_method,
    in_a_process,
    in_equal_classes,
    precision_here,
)
from fewshot.bench.loop import no_look
from fewshot.models.hardware import keep_freed_memory, peak_megabytes, status_megabytes
from fewshot.progress import Reporter
from fewshot.training.loop import Progress, train
from fewshot.training.recipes import find_recipe

_SPEC = EpisodeSpec(60, 1, 5)
_PER_CLASS = 1000
_IMAGE_BYTES = 28 * 28
_SMALL_SHARE = 50  # the part of the file that is trained from first: one of so many
_WARM_STEPS = 20  # the loop reports every so many; the first report is left out


def measure_large_file(root: Path | None, reporter: Reporter, gigabytes: float, steps: int = 400) -> dict[str, Any]:
    """Step and memory of a training from a file of so many gigabytes and from its first fiftieth, as plain data.

    A file of less than 3 million images is made as large as that: its fiftieth must hold an episode. Raises UserError
    where there is no room for it.
    """
    about, fewest = about_here(), _SMALL_SHARE * _SPEC.way * _PER_CLASS
    num_images = max(fewest, int(gigabytes * 1e9) // _IMAGE_BYTES) // _PER_CLASS * _PER_CLASS
    small = num_images // _SMALL_SHARE // _PER_CLASS * _PER_CLASS
    found = []
    with large_file(data_root(root), num_images, reporter) as path:
        for count in (small, num_images):
            size = count * _IMAGE_BYTES / 1e9
            reporter.say(f"training {steps} episodes from {size:.2f} GB ...")
            found.append(in_a_process(train_from, path, count, steps) | {"file_gb": size})
    content = about | {
        "memory_gb": machine_memory() / 1e9,
        "setting": "proto, conv4, 60-way 1-shot 5-query, 28x28",
        "steps": steps,
        "small": found[0],
        "large": found[1],
    }
    return {"large_file": content, "machine": content["machine"], "measurements": [*_lines(content)]}


def _lines(content: dict[str, Any]) -> Iterator[Figure]:
    for part in (content["small"], content["large"]):
        name = f"training from a file of {part['file_gb']:.2f} GB"
        yield figure(f"{name}: step", part["step_ms"], "ms", f"median over {content['steps']} steps")
        yield figure(f"{name}: memory", part["own_mb"], "MB", "of the process, the file's pages not counted")


@contextmanager
def large_file(root: Path, num_images: int, reporter: Reporter) -> Iterator[Path]:
    """A file of so many drawn characters under ``root``, not in the system's cache; gone afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    needed, free = num_images * _IMAGE_BYTES, shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"a file of {needed / 1e9:.1f} GB does not fit on the disk of {root}, which has {free / 1e9:.1f} GB left: "
            "ask for a smaller --large-file, or name another folder with --data"
        )
    block = open_dataset("strokes", root, reporter=reporter).load("train", reporter.data_progress).images.numpy()
    with tempfile.TemporaryDirectory(prefix="fewshot-large-", dir=root) as folder:
        path = Path(folder) / "images.npy"
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (num_images, *block.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, num_images, len(block)):
                file.write(block[: num_images - first].data)
                reporter.data_progress("writing images", min(first + len(block), num_images), num_images)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):  # else the small part would be read from memory, and the large one not
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        yield path


def train_from(path: Path, num_images: int, steps: int) -> dict[str, float]:
    """Median milliseconds of a training step on the first images of a file, and megabytes that the process holds."""
    keep_freed_memory()
    train_set = in_equal_classes(map_images(path)[:num_images], num_images // _PER_CLASS, "train")
    recipe = replace(find_recipe("fast", "omniglot", 1), train_episodes=steps, validate_every=steps + 1)
    method = fresh_method("proto", (1, 28, 28))
    seconds, own, last = [], 0.0, time.perf_counter()

    def note(progress: Progress) -> None:  # noqa: ARG001
        nonlocal own, last
        now = time.perf_counter()
        seconds.append((now - last) / _WARM_STEPS)
        own, last = max(own, own_megabytes()), now

    sampler = EpisodeSampler(train_set, _SPEC, seed=0)
    train(method, sampler, recipe, no_look, precision=precision_here(), on_progress=note)
    return {"step_ms": 1000 * statistics.median(seconds[1:]), "own_mb": own}


def own_megabytes() -> float:
    """What this process holds of memory, without the pages of files; where the system does not say, with them."""
    return status_megabytes("RssAnon") or peak_megabytes()
