"""fewshot bench --time-to-accuracy: from nothing to a test accuracy, seed by seed, each in a process of its own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Goal:
    """What is trained, how often, and what the test accuracy is held against.

    ``target`` is a share of queries; None means the published number of this model and setting.
    """

    model: str = "proto"
    dataset: str = "omniglot"
    way: int = 5
    shot: int = 1
    target: float | None = None
    num_seeds: int = 3
    recipe: str = "fast"
    num_episodes: int = 10_000


Run = Callable[[Job, Place], tuple[RunRecord, float]]


def measure_time_to_accuracy(
    goal: Goal, root: Path | None, reporter: Reporter, run: Run | None = None
) -> dict[str, Any]:
    """Train and test ``goal.num_seeds`` times; every training, their medians, and whether the target is met.

    Each seed trains the whole recipe, from nothing, in a fresh folder: nothing is stopped early, and the weights are
    chosen on the validation classes. Raises UserError for a model that there is not, and where there is neither a
    target nor a published number.
    """
    METHODS.get(goal.model)  # refused here, not in every process
    pixels = open_dataset(goal.dataset, root, reporter=reporter).protocol_name
    target = _published(goal, pixels) if goal.target is None else goal.target
    trainings: list[dict[str, Any]] = []
    about = about_here()
    for seed in range(goal.num_seeds):
        reporter.say(f"training {goal.model} on {goal.dataset}, seed {seed} ({seed + 1} of {goal.num_seeds}) ...")
        with tempfile.TemporaryDirectory(prefix="fewshot-bench-") as fresh:
            record, seconds = (run or _run_in_a_process)(_job(goal, seed), Place(Path(fresh), data_root(root)))
        trainings.append(_trained(record, seed, seconds))
        reporter.say(f"  {100 * record.accuracy:.2f} % after {record.cost.training_seconds:.1f} s of training")
    return about | _summary(goal, target, pixels, trainings)


def _job(goal: Goal, seed: int) -> Job:
    config = RunConfig(
        model=goal.model,
        dataset=goal.dataset,
        way=goal.way,
        shot=goal.shot,
        recipe=goal.recipe,
        episodes=goal.num_episodes,
        seed=seed,
    )
    return Job(f"seed {seed}", config)


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
    return result[0][0], time.perf_counter() - start


def _published(goal: Goal, pixels: str) -> float:
    published = published_target(goal.model, pixels, goal.way, goal.shot)
    if published is None or published.status == "recalled":  # a number from memory is no target
        where = f"{goal.model} on {goal.dataset} {goal.way}-way {goal.shot}-shot"
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


def _summary(goal: Goal, target: float, pixels: str, trainings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def median(name: str) -> float:
        return float(statistics.median(trained[name] for trained in trainings))

    without = statistics.median(trained["training_seconds"] - trained["validation_seconds"] for trained in trainings)
    accuracy, met = median("accuracy"), sum(trained["accuracy"] >= target for trained in trainings)
    setting = f"{goal.model} {pixels} {goal.way}w{goal.shot}s {goal.recipe}"
    over = f"median of {len(trainings)} seeds" if len(trainings) > 1 else "one seed"
    figures = [
        figure(f"{setting}: training", median("training_seconds"), "s", f"the whole recipe, {over}"),
        figure(f"{setting}: without validation", without, "s", f"the steps alone, {over}"),
        figure(f"{setting}: whole command", median("command_seconds"), "s", f"process start to record, {over}"),
        figure(
            f"{setting}: accuracy",
            100 * accuracy,
            "%",
            f"{goal.num_episodes:,} test episodes, {over}; target {100 * target:.2f} met by {met} of {len(trainings)}",
        ),
    ]
    return {
        "measurements": figures,
        "time_to_accuracy": {
            "precision": precision_here(),
            **{name: value for name, value in asdict(goal).items() if name != "target"},
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
