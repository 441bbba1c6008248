"""What the training loop adds to its bare step, where the time goes, and how near that is to the machine's peak."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.files import data_root
from episodes.sampler import EpisodeSampler, TrainingSampler
from fewshot.bench.basics import (
    SETTINGS,
    Action,
    Figure,
    Workload,
    best_seconds,
    figure,
    fresh_method,
    image_set,
    in_a_process,
    precision_here,
    seconds,
)
from fewshot.evaluation.evaluate import embed_all
from fewshot.models.batches import episode_images
from fewshot.models.encoders.base import Encoder
from fewshot.models.hardware import Precision, choose_device, has_fast_bf16, keep_freed_memory
from fewshot.models.methods import Method
from fewshot.progress import Reporter
from fewshot.statistics.intervals import Interval
from fewshot.training.loop import train
from fewshot.training.optimizers import optimizer_for
from fewshot.training.recipes import Recipe, find_recipe
from fewshot.training.step import train_step

_DRAWN = 32  # episodes that the bare step takes in turn
_EMBEDDED = 1024  # images of the embedding that is looked into
_QUICK, _FULL = (1.0, 1), (12.0, 3)  # seconds for the bare step and for the loop, and rounds
_KINDS = {  # words in the names of PyTorch's operations -> what a reader calls it; the first that fits
    "convolution": ("conv",),
    "matrix products": ("::mm", "::addmm", "::bmm"),  # the first block, Winograd's convolution, Muon
    "batch norm": ("batch_norm", "rsqrt"),  # written out, it divides by a root: no optimizer has this one
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
        found.append(in_a_process(measure_one, setting, data_root(root), budget, rounds))
    return found


def measure_one(setting: Workload, root: Path, budget: float, rounds: int) -> dict[str, Any]:
    """Figures of one setting; bare steps and the loop take turns, ``budget`` seconds each, ``rounds`` times."""
    keep_freed_memory()
    precision, (train_set, pixels) = precision_here(), image_set(setting, root, "train")
    method = fresh_method("proto", train_set.image_shape)
    work, episodes = convolution_work(method.encoder), EpisodeSampler(train_set, setting.train, seed=0)
    recipe = find_recipe("fast", setting.dataset, setting.train.shot)
    optimizer = optimizer_for(method, recipe)
    images, drawn = train_set.images.to(method.encoder.mean.device), episodes.batch(0, _DRAWN)
    numbers = itertools.cycle(range(_DRAWN))

    def bare() -> Tensor:
        return train_step(method, optimizer, images, drawn.part(next(numbers), 1), precision)

    def embed() -> Tensor:
        return embed_all(method, train_set.images[:_EMBEDDED], precision)

    def deliver() -> None:
        for episode in episodes.steps(0, _DRAWN, images.device):
            episode_images(images, episode)

    method.train()
    steps = max(3, round(budget / best_seconds(bare, 0.0)))
    as_bare = replace(recipe, train_episodes=steps, turns=None, half_size=None, augment=None)  # as in the bare step
    whole = partial(training_seconds, method, episodes, as_bare, precision)
    bare_s, loop_s = _in_turns(
        rounds, lambda: seconds(lambda: [bare() for _ in range(steps)]) / steps, lambda: whole() / steps
    )
    method.train()
    training_shares = shares_of_time(lambda: [bare() for _ in range(3)])
    embedding_s = best_seconds(embed, budget) / len(train_set.images[:_EMBEDDED])
    per_step = setting.train.num_images
    return {
        "setting": setting.name,
        "pixels": pixels,
        "precision": precision,
        "bare_ms": 1000 * bare_s,
        "loop_ms": 1000 * loop_s,
        "overhead_percent": 100 * (loop_s / bare_s - 1),
        "delivery_ms": 1000 * best_seconds(deliver, budget / 4) / _DRAWN,
        "training_images_per_s": per_step / loop_s,
        "training_gflops": work.training * per_step / loop_s / 1e9,
        "training_shares": training_shares,
        "embedding_images_per_s": 1 / embedding_s,
        "embedding_gflops": work.embedding / embedding_s / 1e9,
        "embedding_shares": shares_of_time(embed),
    }


def _in_turns(rounds: int, *clocks: Callable[[], float]) -> list[float]:
    """The median of what each clock says, over rounds in which all take turns."""
    told = [[clock() for clock in clocks] for _ in range(rounds)]
    return [statistics.median(times) for times in zip(*told, strict=True)]


def training_seconds(method: Method, sampler: TrainingSampler, recipe: Recipe, precision: Precision) -> float:
    """Seconds of a whole training, with drawing, gathering, progress and saving; no validation."""
    recipe = replace(recipe, validate_every=recipe.train_episodes + 1)
    report = Reporter().training_progress
    with tempfile.TemporaryDirectory(prefix="fewshot-bench-") as folder:
        state = Path(folder) / "state.safetensors"

        def loop() -> None:
            train(method, sampler, recipe, no_look, precision=precision, state_path=state, on_progress=report)

        return seconds(loop)


def no_look(method: Method) -> Interval:  # noqa: ARG001
    """In place of a validation, which would take time of its own."""
    return Interval(0.5, 0.0, 1)


def shares_of_time(action: Action) -> dict[str, float]:
    """Percent of an action's time by kind of operation, as PyTorch's profiler sees it; ``other`` is the rest."""
    with torch.profiler.profile(acc_events=True) as profile:
        seconds(action)
    spent = dict.fromkeys([*_KINDS, "other"], 0.0)
    for operation in profile.key_averages():
        named = (kind for kind, words in _KINDS.items() if any(word in operation.key.lower() for word in words))
        spent[next(named, "other")] += operation.self_cpu_time_total + operation.self_device_time_total
    whole = sum(spent.values())
    return {kind: 100 * seconds / whole for kind, seconds in spent.items()}


def measure_peak(reporter: Reporter, *, quick: bool = False) -> dict[str, Any]:
    """The most floating-point operations a second of a large matrix product here, in each precision of its hardware.

    Emulated, one product in bf16 would take minutes.
    """
    reporter.say("  the machine's peak: large matrix products")
    side, found = 1024 if quick else 4096, dict[str, Any]()
    for name in ("fp32", "bf16") if has_fast_bf16(choose_device()) else ("fp32",):
        kind = torch.bfloat16 if name == "bf16" else torch.float32
        left, right = (torch.ones(side, side, dtype=kind, device=choose_device()) for _ in range(2))
        found[f"{name}_gflops"] = (
            2 * side**3 / best_seconds(partial(torch.matmul, left, right), 0.1 if quick else 3) / 1e9
        )
    return found | {"side": side}


def loop_figures(loops: list[dict[str, Any]], peak: dict[str, Any]) -> list[Figure]:
    """As lines of the table."""
    figures = []
    for loop in loops:
        name, what = loop["setting"], f"Conv4 ProtoNet, {loop['precision']}, {loop['pixels']}"
        against = f"train() {loop['loop_ms']:.1f} ms a step, the bare step {loop['bare_ms']:.1f} ms"
        rate, delivery = "in the convolutions alone counted", loop["delivery_ms"]
        figures += [
            figure(f"{name}: delivery", 1000 / delivery, "episodes/s", f"drawn and gathered, {loop['pixels']}"),
            figure(f"{name}: delivery share", 100 * delivery / loop["bare_ms"], "%", "delivery / training step"),
            figure(f"{name}: training step", loop["loop_ms"], "ms", what),
            figure(f"{name}: training", loop["training_images_per_s"], "images/s", what),
            figure(f"{name}: overhead of the loop", loop["overhead_percent"], "%", against),
            figure(f"{name}: training rate", loop["training_gflops"], "GFLOP/s", rate),
            figure(f"{name}: embedding", loop["embedding_images_per_s"], "images/s", what),
            figure(f"{name}: embedding rate", loop["embedding_gflops"], "GFLOP/s", rate),
        ]
    what = f"a matrix product of {peak['side']}x{peak['side']}, the best of several"
    measured = [name for name in ("fp32", "bf16") if f"{name}_gflops" in peak]
    return figures + [figure(f"peak in {name}", peak[f"{name}_gflops"], "GFLOP/s", what) for name in measured]
