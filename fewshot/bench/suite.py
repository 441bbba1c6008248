"""fewshot bench: how fast it is on this machine, measured on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from episodes.files import data_root
from episodes.sampler import EpisodeSampler
from fewshot.bench.basics import SETTINGS, Measurement, Workload, image_set, in_a_process, load_before, synchronized
from fewshot.bench.loop import loop_figures, measure_loops, measure_peak, peak_figures
from fewshot.bench.peers import measure_contenders, ratios
from fewshot.evaluation.evaluate import embed_all, score_episodes
from fewshot.models.batches import episode_images
from fewshot.models.factory import build_method, place
from fewshot.models.hardware import choose_device, choose_precision, describe_machine, peak_megabytes
from fewshot.progress import Reporter
from fewshot.records.provenance import commit, versions
from fewshot.training.optimizers import optimizer_for
from fewshot.training.recipes import find_recipe
from fewshot.training.step import train_step

_TEST_EPISODES = 10_000


def measure_all(root: Path | None, reporter: Reporter, *, quick: bool = False) -> dict[str, Any]:
    """Every figure, as plain data.

    ``{"machine": ..., "measurements": [...], "contenders": [...], "loops": [...], "peak": {...}}``.
    """
    device, load = choose_device(), load_before()
    figures: list[Measurement] = []
    for setting in SETTINGS:
        reporter.say(f"measuring {setting.name} ...")
        figures += _training(setting, root, reporter, steps=10 if quick else 40)
        figures += _testing(setting, root, reporter)
        figures += _against_learn2learn(setting, root, reporter, tasks=50 if quick else 400)
    figures += _start_up(root, repeats=1 if quick else 3)
    figures.append(Measurement("peak memory", peak_megabytes(), "MB", "resident, of this whole measurement"))
    contenders = measure_contenders(root, reporter, quick=quick)
    loops = measure_loops(root, reporter, quick=quick)
    best = measure_peak(reporter, quick=quick)
    figures += [*ratios(contenders), *loop_figures(loops), *peak_figures(best)]
    return {
        "machine": describe_machine(device),
        "versions": versions(),
        "commit": commit(),
        "load": load,
        "measurements": [asdict(figure) for figure in figures],
        "contenders": contenders,
        "loops": loops,
        "peak": best,
    }


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    synchronized()
    return time.perf_counter() - start


def _training(setting: Workload, root: Path | None, reporter: Reporter, steps: int) -> list[Measurement]:
    train_set, pixels = image_set(setting, root, "train", reporter)
    sampler = EpisodeSampler(train_set, setting.train, seed=0)
    device = choose_device()
    precision = choose_precision("auto", device)
    method = place(build_method("proto", {}, "conv4", {}, train_set.image_shape, seed=0), device)
    optimizer = optimizer_for(method, find_recipe("fast", setting.dataset, setting.train.shot))
    images = train_set.images.to(device)
    drawn = sampler.batch(0, 32)
    method.train()

    def deliver() -> None:
        for number, episode in enumerate(sampler.batches(32 * max(1, steps // 10), 32)):
            for index in range(len(episode)):
                episode_images(images, episode.part(index, 1).to(device))
            reporter.test_progress(f"delivering {setting.name}", 32 * (number + 1), 32 * max(1, steps // 10))

    def train() -> None:
        for step in range(steps):
            train_step(method, optimizer, images, drawn.part(step % 32, 1), precision)
            reporter.test_progress(f"training {setting.name}", step + 1, steps)

    for _ in range(3):  # warm up
        train_step(method, optimizer, images, drawn.part(0, 1), precision)
    deliver()
    delivery = _seconds(deliver) / (32 * max(1, steps // 10))
    step = _seconds(train) / steps
    images_per_step = setting.train.way * (setting.train.shot + setting.train.num_query)
    what = f"Conv4 ProtoNet, {device.type} {precision}, {pixels}"
    return [
        Measurement(f"{setting.name}: delivery", 1 / delivery, "episodes/s", f"drawn and gathered, {pixels}"),
        Measurement(f"{setting.name}: training step", 1000 * step, "ms", what),
        Measurement(f"{setting.name}: training", images_per_step / step, "images/s", what),
        Measurement(f"{setting.name}: delivery share", 100 * delivery / step, "%", "delivery / training step"),
    ]


def _testing(setting: Workload, root: Path | None, reporter: Reporter) -> list[Measurement]:
    test_set, pixels = image_set(setting, root, "test", reporter)
    device = choose_device()
    precision = choose_precision("auto", device)
    method = place(build_method("proto", {}, "conv4", {}, test_set.image_shape, seed=0), device)
    sampler = EpisodeSampler(test_set, setting.test, seed=0)
    tables: list[torch.Tensor] = []
    embedding = _seconds(lambda: tables.append(embed_all(method, test_set.images, precision, reporter.test_progress)))
    scoring = _seconds(
        lambda: score_episodes(method, tables[0], sampler, _TEST_EPISODES, precision, reporter.test_progress)
    )
    spec = f"{setting.test.way}w{setting.test.shot}s{setting.test.num_query}q"
    name = f"{setting.dataset} {spec}: 10,000 test episodes"
    count = len(test_set.images)
    return [
        Measurement(f"{setting.dataset}: embedding", count / embedding, "images/s", f"{count:,} {pixels}, {precision}"),
        Measurement(name, embedding + scoring, "s", f"embedding {embedding:.1f} s + scoring {scoring:.1f} s, {pixels}"),
    ]


def _against_learn2learn(setting: Workload, root: Path | None, reporter: Reporter, tasks: int) -> list[Measurement]:
    from fewshot.models import learn2learn_adapter as adapter

    if not adapter.available():
        reporter.say(f"learn2learn is not compared with: {adapter.why_not()}")
        return []
    train_set, pixels = image_set(setting, root, "train", reporter)
    theirs = adapter.to_task_dataset(train_set, setting.train)  # no number of tasks: each is drawn anew, as ours are
    sampler = EpisodeSampler(train_set, setting.train, seed=0)

    def ours() -> None:
        for episode in sampler.batches(tasks, 32):
            for index in range(len(episode)):
                episode_images(train_set.images, episode.part(index, 1))

    def sample_theirs() -> None:
        for number in range(tasks):
            theirs.sample()
            reporter.test_progress(f"learn2learn {setting.name}", number + 1, tasks)

    theirs.sample()  # its index of labels is made with the first task
    their_seconds, our_seconds = _seconds(sample_theirs), _seconds(ours)
    name = f"{setting.name}: delivery against learn2learn"
    what = f"learn2learn {tasks / their_seconds:.0f}, ours {tasks / our_seconds:.0f} episodes/s, {pixels}"
    return [Measurement(name, their_seconds / our_seconds, "times faster", what)]


def first_step(dataset: str, root: str) -> None:
    """Load a data set and take one training step: what a fresh process is timed with."""
    setting = next(setting for setting in SETTINGS if setting.dataset == dataset)
    train_set, _ = image_set(setting, Path(root), "train", Reporter())
    device = choose_device()
    method = place(build_method("proto", {}, "conv4", {}, train_set.image_shape, seed=0), device)
    optimizer = optimizer_for(method, find_recipe("fast", dataset, setting.train.shot))
    method.train()
    episode = EpisodeSampler(train_set, setting.train, seed=0).batch(0, 1)
    train_step(method, optimizer, train_set.images, episode, choose_precision("auto", device))


def _start_up(root: Path | None, repeats: int) -> list[Measurement]:
    """Wall time of a fresh process from its start to the end of its first training step, the array cache being warm."""
    figures = []
    for setting in SETTINGS:
        seconds = min(_seconds(partial(_run_first_step, setting.dataset, data_root(root))) for _ in range(repeats))
        what = f"a fresh process until its first training step is done, best of {repeats}"
        figures.append(Measurement(f"{setting.dataset}: start to first step", seconds, "s", what))
    return figures


def _run_first_step(dataset: str, root: Path) -> None:
    in_a_process("fewshot.bench.suite:first_step", dataset, str(root))


def render(measured: dict[str, Any]) -> Table:
    """The figures as a table for the terminal."""
    machine = measured["machine"]
    table = Table(title=f"{machine['name']}, {machine['cores']} cores, {machine['device']}", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("how")
    for figure in measured["measurements"]:
        value = figure["value"]
        table.add_row(
            figure["name"], f"{value:,.0f}" if value >= 100 else f"{value:.2f}", figure["unit"], figure["what"]
        )
    return table
