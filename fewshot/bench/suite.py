"""fewshot bench: how fast it is on this machine, measured on the spot."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from episodes.files import data_root
from episodes.sampler import EpisodeSampler
from episodes.types import ImageSet
from fewshot.bench.basics import (
    SETTINGS,
    Figure,
    Workload,
    about_here,
    best_seconds,
    figure,
    image_set,
    in_a_process,
    precision_here,
    seconds,
)
from fewshot.bench.libraries import measure_contenders, our_step, ratios
from fewshot.bench.loop import loop_figures, measure_loops, measure_peak
from fewshot.models import learn2learn_adapter
from fewshot.models.batches import episode_images
from fewshot.models.hardware import peak_megabytes
from fewshot.progress import Reporter


def measure_all(root: Path | None, reporter: Reporter, *, quick: bool = False) -> dict[str, Any]:
    """Every figure, as plain data.

    ``{"machine": ..., "precision": ..., "measurements": [...], "contenders": [...], "loops": [...], "peak": {...}}``.
    """
    about = about_here()
    found = _start_up(data_root(root), repeats=1 if quick else 3)
    if learn2learn_adapter.available():
        found += [_delivery(setting, *image_set(setting, root, "train"), 0.1 if quick else 2.0) for setting in SETTINGS]
    contenders = measure_contenders(root, reporter, quick=quick)
    loops = measure_loops(root, reporter, quick=quick)
    peak = measure_peak(reporter, quick=quick)
    found += [figure("peak memory", peak_megabytes(), "MB", "resident, of this whole measurement")]
    found += [
        figure(f"{line['setting']}: 10,000 test episodes", line["test_s"], "s", line["testing"])
        for line in contenders
        if line["name"] == "ours"
    ]
    return about | {
        "precision": precision_here(),
        "measurements": found + ratios(contenders) + loop_figures(loops, peak),
        "contenders": contenders,
        "loops": loops,
        "peak": peak,
    }


def _delivery(setting: Workload, train_set: ImageSet, pixels: str, budget: float) -> Figure:
    """Our episodes, drawn and gathered, against learn2learn's tasks."""
    theirs = learn2learn_adapter.to_task_dataset(train_set, setting.train)  # no number of tasks: each is drawn anew
    episodes = EpisodeSampler(train_set, setting.train, seed=0).steps(0, 10**9)
    ours_s = best_seconds(lambda: [episode_images(train_set.images, next(episodes)) for _ in range(32)], budget) / 32
    theirs_s = best_seconds(theirs.sample, budget)
    what = f"learn2learn {1 / theirs_s:.0f}, ours {1 / ours_s:.0f} episodes/s, {pixels}"
    return figure(f"{setting.name}: delivery against learn2learn", theirs_s / ours_s, "times faster", what)


def first_step(setting: Workload, root: Path) -> None:
    """Load a data set and take one training step: what a fresh process is timed with."""
    our_step(setting, image_set(setting, root, "train")[0])()


def _start_up(root: Path, repeats: int) -> list[Figure]:
    """Wall time of a fresh process from its start to the end of its first training step, the array cache being warm."""
    found = []
    for setting in SETTINGS:
        start = partial(in_a_process, first_step, setting, root)
        what = f"a fresh process until its first training step is done, best of {repeats}"
        shortest = min(seconds(start) for _ in range(repeats))
        found.append(figure(f"{setting.dataset}: start to first step", shortest, "s", what))
    return found


def render(measured: dict[str, Any]) -> Table:
    """The figures as a table for the terminal."""
    machine = measured["machine"]
    table = Table(title=f"{machine['name']}, {machine['cores']} cores, {machine['device']}", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("how")
    for line in measured["measurements"]:
        value = line["value"]
        table.add_row(line["name"], f"{value:,.0f}" if value >= 100 else f"{value:.2f}", line["unit"], line["what"])
    return table
