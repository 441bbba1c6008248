"""A job is one training with its tests; jobs that share a training stand in one chain, made one after another."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from episodes.datasets.base import Dataset, dataset_class
from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import DEFAULT_DATASET
from episodes.errors import UserError
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.measure import Outcome
from fewshot.experiments.resolve import recipe_of, with_options_of_recipe, within_budget
from fewshot.experiments.run import run_readouts, run_without_test
from fewshot.progress import LineReporter, Reporter
from fewshot.records.record import TrainingLog
from fewshot.records.schema import StoredRecipe
from fewshot.training.loop import TrainingError
from fewshot.training.recipes import Recipe, images_encoded

_OF_TEST = {"log", "way", "shot", *RunConfig.of_test}
_OPEN: dict[str, Any] = {
    item.name: item.default
    for item in fields(RunConfig)
    if item.name in _OF_TEST | {part.name for part in fields(Recipe)}
}
"""What of a configuration is of the test, or stands in the recipe."""


@dataclass(frozen=True)
class Job:
    """One training with its test, and more tests of what it trained (their ``checkpoint`` is left open).

    One that is not ``tested`` reads no test class; what comes of it is the log of its training.
    """

    name: str
    config: RunConfig
    tests: tuple[EvaluateConfig, ...] = ()
    tested: bool = True

    @cached_property
    def recipe(self) -> Recipe | None:
        """Of the training, way and shot filled in; None where there is none, or where the run itself will say why."""
        try:
            config = self._config
            recipe = recipe_of(config, self._dataset)[0]
            if recipe is None:
                return None
            if recipe.batch_size is None:
                way, shot = recipe.train_way or config.way, recipe.train_shot or config.shot
                recipe = replace(recipe, train_way=way, train_shot=shot, val_way=recipe.val_way or config.way)
            unread = dataset_class(self._dataset)(class_split=config.class_split)
            return within_budget(recipe, config, unread.at_size(config.size) if config.size else unread)
        except UserError:
            return None

    @property
    def _dataset(self) -> str:
        return self.config.dataset or DEFAULT_DATASET

    @cached_property
    def _config(self) -> RunConfig:
        return with_options_of_recipe(self.config, self._dataset)

    @cached_property
    def training(self) -> str:
        """What names the training as far as is known without the images: jobs of one name share it."""
        return repr((replace(self.config, **_OPEN), self.recipe)) if self.recipe else self.name

    def images(self) -> int:
        """Images that the training sends through its encoder; 0 where nothing is trained."""
        if self.recipe is None:
            return 0
        return self.recipe.train_episodes * images_encoded(self.recipe, self.config.model, self._config.model_options)

    def work(self) -> float:
        """Numbers of these images, every pixel one for each channel."""
        if self.recipe is None:
            return 0.0
        name, size = self._dataset, self.config.size
        channels, height, width = DATASETS.get(name if name in DATASETS else "folder").image_shape
        return self.images() * numbers_of(self.recipe, (channels, size or height, size or width))


def numbers_of(recipe: Recipe | StoredRecipe, image_shape: tuple[int, int, int]) -> float:
    """Numbers of an image, on average over a training; one at half the side has a quarter."""
    return math.prod(image_shape) * (1 - 0.75 * (recipe.half_size or 0.0))


Chain = Sequence[Job]
Result = list[Outcome] | TrainingLog | UserError
"""What came of a job: its records, the log of one that is not tested, or why there is nothing."""
Perform = Callable[[Chain], list[Result]]
"""Makes a chain; what came of each of its jobs."""


@dataclass(frozen=True)
class Place:
    """Where runs write, and where the data sets lie."""

    out: Path = Path("runs")
    root: Path | None = None


def perform(
    chain: Chain, place: Place, reporter: Reporter | None = None, dataset: Dataset | None = None
) -> list[Result]:
    """Make these runs one after another, here and now; what came of each. The data set is opened unless it is given."""
    reporter = reporter or LineReporter()
    return [_performed(job, place, reporter, dataset) for job in chain]


def _performed(job: Job, place: Place, reporter: Reporter, dataset: Dataset | None) -> Result:
    reporter.begin(job.name)
    try:
        if not job.tested:
            return run_without_test(job.config, dataset, place.out, reporter, root=place.root)
        made = run_readouts(job.config, dataset, place.out, reporter, root=place.root)
        checkpoint = Path(made[0][0].trained.checkpoint)
        for test in job.tests:
            config = replace(test, checkpoint=checkpoint)
            made += evaluate_again(config, None if test.dataset else dataset, place.out, reporter, root=place.root)
    except UserError as error:  # a plain one goes to other processes whole
        return (TrainingError if isinstance(error, TrainingError) else UserError)(str(error))
    return made


def chains_of(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs, those together that share a training."""
    chains = defaultdict[str, list[Job]](list)
    for job in jobs:
        chains[job.training].append(job)
    return [*chains.values()]


def work_of(jobs: Sequence[Job]) -> dict[str, float]:
    """The work of each job, by name; of those that share a training the first has it all."""
    first = {chain[0].name: chain[0].work() for chain in chains_of(jobs)}
    return {job.name: first.get(job.name, 0.0) for job in jobs}
