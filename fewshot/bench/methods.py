"""fewshot bench --model: what training and testing cost, method by method, each in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from episodes.errors import UserError
from episodes.files import data_root
from episodes.sampler import ClassBatchSampler, EpisodeSampler, TrainingSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.bench.basics import (
    SETTINGS,
    Figure,
    Workload,
    about_here,
    figure,
    fresh_method,
    image_set,
    in_a_process,
    precision_here,
    seconds,
)
from fewshot.bench.loop import training_seconds
from fewshot.evaluation.evaluate import embed_all, score_episodes
from fewshot.models.hardware import Precision, choose_device, keep_freed_memory, peak_megabytes
from fewshot.models.methods import METHODS, Method
from fewshot.models.methods.hausdorff import Hausdorff
from fewshot.progress import Reporter
from fewshot.training.recipes import Recipe, find_recipe

_FEW, _MORE, _MANY = (5, 1), (20, 1), (20, 5)  # way and shot that are timed; that are looked at for memory
_QUERIES, _UNLABELED = 15, 5
_WARM_UP, _STEPS = 5, 40  # training steps that are not timed, and that are


def measure_models(wanted: str, root: Path | None, reporter: Reporter, *, quick: bool = False) -> dict[str, Any]:
    """A training step, and seconds and memory of 10,000 Omniglot test episodes; of one method, or of ``all``."""
    about, names = about_here(), [*METHODS] if wanted == "all" else [wanted]
    figures: list[Figure] = []
    for number, name in enumerate(names):
        if reason := _why_not(METHODS.get(name)):
            if wanted != "all":
                raise UserError(f"{name} is not measured here: {reason}")
            reporter.say(f"{name} is left out: {reason}")
            continue
        reporter.test_progress(f"measuring {name}", number, len(names))
        episodes, steps = (1000, 3) if quick else (10_000, _STEPS)
        figures += in_a_process(measure_one, name, data_root(root), episodes, steps)
    reporter.test_progress("measuring", len(names), len(names))
    return about | {"measurements": figures, "of_models": wanted}


def _why_not(method_class: type[Method]) -> str:
    """Why a method is not timed; empty where it is."""
    if issubclass(method_class, Hausdorff):
        return "it compares drawings pair by pair, and 10,000 episodes take hours"
    return "it learns anew in every episode, and 10,000 take hours" if method_class.adapts else ""


def measure_one(name: str, root: Path, num_episodes: int, steps: int) -> list[Figure]:
    """The figures of one method as plain data. Its weights are those it begins with: speed is the same."""
    keep_freed_memory()
    test_set, pixels = image_set(SETTINGS[0], root, "test")
    precision, method = precision_here(), fresh_method(name, test_set.image_shape)
    method.trained = True
    tables: list[torch.Tensor] = []
    embedding = seconds(lambda: tables.append(embed_all(method, test_set.images, precision)))
    score = partial(_score, method, tables[0], test_set, precision)
    scoring, of_more = score(_FEW, num_episodes), score(_MORE, num_episodes)
    score(_MANY, 256)
    peak = peak_megabytes() / 2**10
    rest, count = f"{pixels}, {choose_device().type} {precision}", f"{num_episodes:,} episodes"
    few, more = (f"embedding {embedding:.1f} s + scoring {spent:.1f} s, {rest}" for spent in (scoring, of_more))
    trained = METHODS.get(name).trains_on != "nothing"
    return [
        figure(f"{name}: {count} 5w1s15q", embedding + scoring, "s", few),
        figure(f"{name}: {count} 20w1s15q", embedding + of_more, "s", more),
        figure(f"{name}: peak memory at 20w5s15q", peak, "GB", "resident, of the whole process"),
        *([_training_step(name, root, steps, precision)] if trained else []),
    ]


def _training_step(name: str, root: Path, steps: int, precision: Precision) -> Figure:
    """A step of the fast recipe within the training loop, on as many labeled images as the setting has for all."""
    setting = SETTINGS[0]
    train_set, pixels = image_set(setting, root, "train")
    method = fresh_method(name, train_set.image_shape, train_set.num_classes)
    recipe = find_recipe("fast", setting.dataset, setting.train.shot, name)
    sampler, images = _training_sampler(setting, method, train_set, recipe)
    training_seconds(method, sampler, replace(recipe, train_episodes=_WARM_UP), precision)
    spent = training_seconds(method, sampler, replace(recipe, train_episodes=steps), precision) / steps
    rate = f"{images / spent:,.0f} images/s, {images} a step, {precision}, {pixels}"
    return figure(f"{name}: training step", 1000 * spent, "ms", rate)


def _training_sampler(
    setting: Workload, method: Method, train_set: ImageSet, recipe: Recipe
) -> tuple[TrainingSampler, int]:
    """Episodes of the setting, or batches as large; and how many images go through the encoder in each."""
    spec = setting.train
    labeled = spec.way * (spec.shot + spec.num_query)
    if recipe.batch_size is not None:
        size = labeled - labeled % (recipe.per_class or 1)
        return ClassBatchSampler(train_set, size, seed=0, per_class=recipe.per_class), size * method.views
    unlabeled = _UNLABELED if method.uses_unlabeled else 0
    spec = replace(spec, num_unlabeled=unlabeled)
    return EpisodeSampler(train_set, spec, seed=0), labeled + spec.way * unlabeled


def _score(
    method: Method,
    table: torch.Tensor,
    test_set: ImageSet,
    precision: Precision,
    way_shot: tuple[int, int],
    num_episodes: int,
) -> float:
    """Seconds that scoring takes."""
    unlabeled = _UNLABELED if method.uses_unlabeled else 0
    queries = min(_QUERIES, int(test_set.class_sizes.min()) - way_shot[1] - unlabeled)
    sampler = EpisodeSampler(test_set, EpisodeSpec(*way_shot, queries, unlabeled), seed=0)
    return seconds(lambda: score_episodes(method, table, sampler, num_episodes, precision))
