"""fewshot bench --time-to-accuracy: from nothing to a test accuracy, seed by seed, each in a process of its own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.files import data_root
from fewshot.bench.basics import about_here, figure, precision_here
from fewshot.experiments.config import RunConfig
from fewshot.experiments.sweep.executors import Processes
from fewshot.experiments.sweep.jobs import Job, Place, perform
from fewshot.models.methods import METHODS
from fewshot.progress import Reporter
from fewshot.records.published import published_target
from fewshot.records.record import RunRecord

Run = Callable[[Job, Place], tuple[RunRecord, float]]


def measure_time_to_accuracy(
    config: RunConfig,
    target: float | None,
    num_seeds: int,
    root: Path | None,
    reporter: Reporter,
    run: Run | None = None,
) -> dict[str, Any]:
    """Train and test ``num_seeds`` times; every training, their medians, and whether the target is met.

    ``target`` is a share of queries; None means the published number of this model and setting. Each seed trains the
    whole recipe, from nothing, in a fresh folder: nothing is stopped early, and the weights are chosen on the
    validation classes. Raises UserError for a model that there is not, and where there is neither a target nor a
    published number.
    """
    METHODS.get(config.model)  # refused here, not in every process
    pixels = open_dataset(config.dataset, root, reporter=reporter).protocol_name
    target = _published(config, pixels) if target is None else target
    trainings: list[dict[str, Any]] = []
    about = about_here()
    for seed in range(num_seeds):
        reporter.say(f"training {config.model} on {config.dataset}, seed {seed} ({seed + 1} of {num_seeds}) ...")
        job = Job(f"seed {seed}", replace(config, seed=seed))
        with tempfile.TemporaryDirectory(prefix="fewshot-bench-") as fresh:
            record, seconds = (run or _run_in_a_process)(job, Place(Path(fresh), data_root(root)))
        trainings.append(_trained(record, seed, seconds))
        reporter.say(f"  {100 * record.accuracy:.2f} % after {record.cost.training_seconds:.1f} s of training")
    return about | _summary(config, target, pixels, trainings)


def _run_in_a_process(job: Job, place: Place) -> tuple[RunRecord, float]:
    """The record of a run and the wall time of its process. What it says on standard error is passed through."""
    start = time.perf_counter()
    try:
        with Processes(1) as engine:
            (result,) = engine.submit(perform, [job], place).result()
        if isinstance(result, UserError):
            raise result
    except (UserError, BrokenExecutor) as error:
        raise UserError(f"`{job.config.to_command()}` failed: {error}") from error
    assert isinstance(result, list)
    return result[0][0], time.perf_counter() - start


def _published(config: RunConfig, pixels: str) -> float:
    published = published_target(config.model, pixels, config.way, config.shot)
    if published is None or published.status == "recalled":  # a number from memory is no target
        where = f"{config.model} on {config.dataset} {config.way}-way {config.shot}-shot"
        raise UserError(f"no paper that was read gives a number for {where}: say one, as in --target 98.8")
    return published.accuracy / 100


def _trained(record: RunRecord, seed: int, command_seconds: float) -> dict[str, Any]:
    """One training from its first step to its last one, and its test.

    ``training_seconds`` is the wall time of the whole recipe, first step and looks at the validation classes included;
    ``command_seconds`` that of the whole command: process start, images, training, test, record.
    """
    return {
        "seed": seed,
        "accuracy": record.accuracy,
        "ci95": record.ci95,
        "training_seconds": record.cost.training_seconds,
        "validation_seconds": record.cost.validation_seconds or 0.0,
        "test_seconds": record.cost.test_seconds,
        "command_seconds": round(command_seconds, 1),
        "episodes": record.history.validations[-1].episode,
        "selected_episode": record.history.selected_episode or 0,
    }


def _summary(config: RunConfig, target: float, pixels: str, trainings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def median(name: str) -> float:
        return float(statistics.median(trained[name] for trained in trainings))

    without = statistics.median(trained["training_seconds"] - trained["validation_seconds"] for trained in trainings)
    accuracy, met = median("accuracy"), sum(trained["accuracy"] >= target for trained in trainings)
    setting = f"{config.model} {pixels} {config.way}w{config.shot}s {config.recipe}"
    over = f"median of {len(trainings)} seeds" if len(trainings) > 1 else "one seed"
    figures = [
        figure(f"{setting}: training", median("training_seconds"), "s", f"the whole recipe, {over}"),
        figure(f"{setting}: without validation", without, "s", f"the steps alone, {over}"),
        figure(f"{setting}: whole command", median("command_seconds"), "s", f"process start to record, {over}"),
        figure(
            f"{setting}: accuracy",
            100 * accuracy,
            "%",
            f"{config.episodes:,} test episodes, {over}; target {100 * target:.2f} met by {met} of {len(trainings)}",
        ),
    ]
    return {
        "measurements": figures,
        "time_to_accuracy": {
            "precision": precision_here(),
            **{name: getattr(config, name) for name in ("model", "dataset", "way", "shot", "recipe")},
            "num_seeds": len(trainings),
            "num_episodes": config.episodes,
            "pixels": pixels,
            "target": target,
            "median_accuracy": accuracy,
            "median_training_seconds": median("training_seconds"),
            "median_seconds_without_validation": without,
            "median_command_seconds": median("command_seconds"),
            "target_met_by_median": accuracy >= target,
            "seeds_that_met_it": met,
            "trainings": trainings,
        },
    }
