"""fewshot bench --model: what testing costs, method by method, each in a process of its own."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from episodes.cache import data_root
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.types import EpisodeSpec, ImageSet
from fewshot.bench import SETTINGS, Measurement, image_set, in_a_process, load_before
from fewshot.building import build_method, place
from fewshot.evaluation import embed_all, score_episodes
from fewshot.hardware import choose_device, choose_precision, describe_machine, keep_freed_memory
from fewshot.methods import METHODS, Method
from fewshot.provenance import commit
from fewshot.reporting import Reporter

_FEW, _MORE, _MANY = (5, 1), (20, 1), (20, 5)  # way and shot that are timed; that are looked at for memory
_QUERIES, _UNLABELED = 15, 5


def measure_models(wanted: str, root: Path | None, reporter: Reporter, *, quick: bool = False) -> dict[str, Any]:
    """Seconds and memory of 10,000 Omniglot test episodes; of the method called ``wanted``, or of ``all``."""
    names, load = [*METHODS] if wanted == "all" else [wanted], load_before()
    figures: list[Measurement] = []
    for number, name in enumerate(names):
        if reason := _why_not(METHODS.get(name)):
            if wanted != "all":
                raise UserError(f"{name} is not measured here: {reason}")
            reporter.say(f"{name} is left out: {reason}")
            continue
        reporter.test_progress(f"measuring {name}", number, len(names))
        count = str(1000 if quick else 10_000)
        measured = in_a_process("fewshot.bench_models:measure_one", name, str(data_root(root)), count)
        figures += [Measurement(**figure) for figure in measured]
    reporter.test_progress("measuring", len(names), len(names))
    measurements = [figure.__dict__ for figure in figures]
    return {
        "machine": describe_machine(choose_device()),
        "commit": commit(),
        "load": load,
        "measurements": measurements,
        "of_models": wanted,
    }


def _why_not(method_class: type[Method]) -> str:
    """Why a method is not timed; empty where it is."""
    if reason := method_class.unavailable():
        return reason
    return "it learns anew in every episode, and 10,000 take hours" if method_class.adapts else ""


def measure_one(name: str, root: str, num_episodes: str) -> list[dict[str, Any]]:
    """The figures of one method as plain data. Its weights are those it begins with: speed is the same."""
    keep_freed_memory()
    test_set, pixels = image_set(SETTINGS[0], Path(root), "test", Reporter())
    device = choose_device()
    precision = choose_precision("auto", device)
    method_class = METHODS.get(name)
    method = place(build_method(name, {}, method_class.default_encoder, {}, test_set.image_shape, seed=0), device)
    method.trained = True
    start = time.perf_counter()
    table = embed_all(method, test_set.images, precision)
    embedding = time.perf_counter() - start
    scoring, of_more = (_score(method, table, test_set, what, int(num_episodes), precision) for what in (_FEW, _MORE))
    _score(method, table, test_set, _MANY, 256, precision)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    rest, count = f"{pixels}, {device.type} {precision}", f"{int(num_episodes):,} episodes"
    few, more = (f"embedding {embedding:.1f} s + scoring {seconds:.1f} s, {rest}" for seconds in (scoring, of_more))
    figures = (
        Measurement(f"{name}: {count} 5w1s15q", embedding + scoring, "s", few),
        Measurement(f"{name}: {count} 20w1s15q", embedding + of_more, "s", more),
        Measurement(f"{name}: peak memory at 20w5s15q", peak, "GB", "resident, of the whole process"),
    )
    return [figure.__dict__ for figure in figures]


def _score(
    method: Method,
    table: torch.Tensor,
    test_set: ImageSet,
    way_shot: tuple[int, int],
    num_episodes: int,
    precision: Any,
) -> float:
    """Seconds that scoring takes."""
    unlabeled = _UNLABELED if method.uses_unlabeled else 0
    queries = min(_QUERIES, int(test_set.class_sizes.min()) - way_shot[1] - unlabeled)
    sampler = EpisodeSampler(test_set, EpisodeSpec(*way_shot, queries, unlabeled), seed=0)
    start = time.perf_counter()
    score_episodes(method, table, sampler, num_episodes, precision)
    return time.perf_counter() - start
