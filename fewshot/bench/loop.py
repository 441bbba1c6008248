"""What the training loop adds to its bare step, where the time goes, and how near that is to the machine's peak."""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.files import data_root
from episodes.sampler import EpisodeSampler, TrainingSampler
from episodes.types import ImageSet
from fewshot.bench.basics import SETTINGS, Measurement, Workload, image_set, in_a_process, setting_named, synchronized
from fewshot.evaluation.evaluate import embed_all
from fewshot.models.encoders.base import Encoder
from fewshot.models.factory import build_method, place
from fewshot.models.hardware import Precision, choose_device, choose_precision, keep_freed_memory
from fewshot.models.methods import Method
from fewshot.progress import Reporter
from fewshot.statistics.intervals import Interval
from fewshot.training.loop import train
from fewshot.training.optimizers import optimizer_for
from fewshot.training.recipes import Recipe, find_recipe
from fewshot.training.step import train_step

_DRAWN = 32  # episodes that the bare step takes in turn
_EMBEDDED = 1024  # images of the embedding that is looked into
_QUICK, _FULL = ("1", "1"), ("12", "3")  # seconds for the bare step and for the loop, and rounds
_KINDS = {  # words in the names of PyTorch's operations -> what a reader calls it; the first that fits
    "convolution": ("conv",),
    "matrix products": ("::mm", "::addmm", "::bmm"),  # the first block, Winograd's convolution, Muon
    "batch norm": ("batch_norm",),
    "pooling": ("max_pool",),
    "ReLU": ("relu", "threshold", "clamp_min"),
    "optimizer": ("adam", "addcmul", "addcdiv", "lerp", "sqrt", "_foreach"),
    "copies, gathering and normalization": ("copy", "index_select", "cat", "div", "sub", "empty", "zero", "fill"),
}


@dataclass(frozen=True)
class Work:
    """Floating-point operations of an encoder's convolutions for one image."""

    embedding: float
    training: float  # forward, and backward to the weights and, but for the first layer, to the images


def convolution_work(encoder: Encoder) -> Work:
    """Two operations for each product of a convolution, at the sizes that the maps really have."""
    embedding, to_images = [], []

    def note(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        per_number = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        embedding.append(2.0 * per_number * made[0].numel())
        to_images.append(embedding[-1] if given[0].requires_grad else 0.0)

    shapes = copy.deepcopy(encoder).to("meta").train()  # where every convolution is a plain one, and nothing computed
    for layer in shapes.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    shapes(torch.zeros(2, *encoder.image_shape, dtype=torch.uint8, device="meta"))
    return Work(sum(embedding), 2 * sum(embedding) + sum(to_images))


def measure_loops(root: Path | None, reporter: Reporter, *, quick: bool = False) -> list[dict[str, Any]]:
    """Bare step, the step within `train()`, where the time goes and at what rate it computes, for every setting."""
    found = []
    for setting in SETTINGS:
        reporter.say(f"  {setting.name}: the training loop against its bare step, and where the time goes")
        budget, rounds = _QUICK if quick else _FULL
        found.append(in_a_process("fewshot.bench.loop:measure_one", setting.name, str(data_root(root)), budget, rounds))
    return found


def measure_one(setting_name: str, root: str, budget: str, rounds: str) -> dict[str, Any]:
    """Figures of one setting; bare steps and the loop take turns, ``budget`` seconds each, ``rounds`` times."""
    keep_freed_memory()
    setting, device = setting_named(setting_name), choose_device()
    precision = choose_precision("auto", device)
    train_set, pixels = image_set(setting, Path(root), "train", Reporter())
    method = place(build_method("proto", {}, "conv4", {}, train_set.image_shape, seed=0), device)
    work = convolution_work(method.encoder)
    bare = _bare_step(setting, method, train_set, precision)
    bare_s, loop_s = _in_turns(setting, method, train_set, bare, precision, (float(budget), int(rounds)))
    embedding_s = _embedding_seconds(method, train_set, precision)
    images = setting.train.way * (setting.train.shot + setting.train.num_query)
    looked_at = train_set.images[:_EMBEDDED]
    method.train()
    training_shares = shares_of_time(lambda: [bare(number) for number in range(3)])
    return {
        "setting": setting_name,
        "pixels": pixels,
        "precision": precision,
        "bare_ms": 1000 * bare_s,
        "loop_ms": 1000 * loop_s,
        "overhead_percent": 100 * (loop_s / bare_s - 1),
        "training_images_per_s": images / loop_s,
        "training_gflops": work.training * images / loop_s / 1e9,
        "training_shares": training_shares,
        "embedding_images_per_s": len(looked_at) / embedding_s,
        "embedding_gflops": work.embedding * len(looked_at) / embedding_s / 1e9,
        "embedding_shares": shares_of_time(lambda: embed_all(method, looked_at, precision)),
    }


def _bare_step(setting: Workload, method: Method, train_set: ImageSet, precision: Precision) -> Callable[[int], Tensor]:
    """Forward, backward and optimizer on episodes that were drawn before."""
    optimizer = optimizer_for(method, find_recipe("fast", setting.dataset, setting.train.shot))
    images = train_set.images.to(method.encoder.mean.device)
    drawn = EpisodeSampler(train_set, setting.train, seed=0).batch(0, _DRAWN)
    return lambda number: train_step(method, optimizer, images, drawn.part(number % _DRAWN, 1), precision)


def _in_turns(
    setting: Workload,
    method: Method,
    train_set: ImageSet,
    bare: Callable[[int], Tensor],
    precision: Precision,
    effort: tuple[float, int],
) -> tuple[float, float]:
    """Seconds of a bare step and of one within the loop: the medians over rounds in which both run as many steps."""
    method.train()
    for number in range(3):
        bare(number)
    one = _seconds(lambda: bare(0))
    budget, rounds = effort
    steps = max(3, round(budget / one))
    episodes = EpisodeSampler(train_set, setting.train, seed=0)
    bare_times, loop_times = [], []
    for _ in range(rounds):
        bare_times.append(_seconds(lambda: [bare(number) for number in range(steps)]) / steps)
        loop_times.append(_loop_seconds(setting, method, episodes, precision, steps) / steps)
    return statistics.median(bare_times), statistics.median(loop_times)


def _loop_seconds(
    setting: Workload, method: Method, episodes: EpisodeSampler, precision: Precision, steps: int
) -> float:
    """Seconds of so many steps within the training loop."""
    recipe = find_recipe("fast", setting.dataset, setting.train.shot)
    return training_seconds(method, episodes, replace(recipe, train_episodes=steps, turns=None), precision)


def training_seconds(method: Method, sampler: TrainingSampler, recipe: Recipe, precision: Precision) -> float:
    """Seconds of a whole training, with drawing, gathering, progress and saving; no validation."""
    recipe = replace(recipe, validate_every=recipe.train_episodes + 1)
    report = Reporter().training_progress
    with tempfile.TemporaryDirectory(prefix="fewshot-bench-") as folder:
        state = Path(folder) / "state.safetensors"

        def loop() -> None:
            train(method, sampler, recipe, no_look, precision=precision, state_path=state, on_progress=report)

        return _seconds(loop)


def no_look(method: Method) -> Interval:  # noqa: ARG001
    """In place of a validation, which would take time of its own."""
    return Interval(0.5, 0.0, 1)


def _embedding_seconds(method: Method, train_set: ImageSet, precision: Precision) -> float:
    """Seconds to embed ``_EMBEDDED`` images (or what there is): the best of five."""
    images = train_set.images[:_EMBEDDED]
    return min(_seconds(lambda: embed_all(method, images, precision)) for _ in range(5))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    synchronized()
    return time.perf_counter() - start


def shares_of_time(action: Callable[[], object]) -> dict[str, float]:
    """Percent of an action's time by kind of operation, as PyTorch's profiler sees it; ``other`` is the rest."""
    with torch.profiler.profile(acc_events=True) as profile:
        action()
        synchronized()
    spent = dict.fromkeys([*_KINDS, "other"], 0.0)
    for operation in profile.key_averages():
        named = (kind for kind, words in _KINDS.items() if any(word in operation.key.lower() for word in words))
        spent[next(named, "other")] += operation.self_cpu_time_total + operation.self_device_time_total
    whole = sum(spent.values())
    return {kind: 100 * seconds / whole for kind, seconds in spent.items()}


def measure_peak(reporter: Reporter, *, quick: bool = False) -> dict[str, Any]:
    """The most floating-point operations a second of a large matrix product here, in both precisions."""
    reporter.say("  the machine's peak: large matrix products")
    device, side = choose_device(), 1024 if quick else 4096
    found: dict[str, Any] = {"side": side}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = (torch.ones(side, side, dtype=kind, device=device) for _ in range(2))
        best = min(_seconds(lambda left=left, right=right: left @ right) for _ in range(3 if quick else 8))  # type: ignore[misc]
        found[f"{name}_gflops"] = 2 * side**3 / best / 1e9
    return found


def peak_figures(peak: dict[str, Any]) -> list[Measurement]:
    """As lines of the table."""
    what = f"a matrix product of {peak['side']}x{peak['side']}, the best of several"
    return [Measurement(f"peak in {name}", peak[f"{name}_gflops"], "GFLOP/s", what) for name in ("fp32", "bf16")]


def loop_figures(loops: list[dict[str, Any]]) -> list[Measurement]:
    """As lines of the table."""
    figures = []
    for loop in loops:
        what = f"train() {loop['loop_ms']:.1f} ms a step, the bare step {loop['bare_ms']:.1f} ms; {loop['pixels']}"
        name, rate = loop["setting"], "in the convolutions alone counted"
        figures += [
            Measurement(f"{name}: overhead of the loop", loop["overhead_percent"], "%", what),
            Measurement(f"{name}: training rate", loop["training_gflops"], "GFLOP/s", rate),
            Measurement(f"{name}: embedding rate", loop["embedding_gflops"], "GFLOP/s", rate),
        ]
    return figures
