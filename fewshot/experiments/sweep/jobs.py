"""A job is one training with its tests; jobs that share a training stand in one chain, made one after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from episodes.datasets.base import Dataset
from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import DEFAULT_DATASET
from episodes.errors import UserError
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.measure import Outcome
from fewshot.experiments.resolve import recipe_of
from fewshot.experiments.run import run_readouts
from fewshot.progress import LineReporter, Reporter
from fewshot.records.schema import StoredRecipe
from fewshot.training.recipes import Recipe

_OF_TEST = {"way", "shot", "query", "dirichlet", "episodes", "episode_seed", "protocol", "readout"}
_OPEN: dict[str, Any] = {
    item.name: item.default
    for item in fields(RunConfig)
    if item.name in _OF_TEST | {part.name for part in fields(Recipe)}
}
"""What of a configuration is of the test, or stands in the recipe."""


@dataclass(frozen=True)
class Job:
    """One training with its test, and more tests of what it trained (their ``checkpoint`` is left open)."""

    name: str
    config: RunConfig
    tests: tuple[EvaluateConfig, ...] = ()

    def training(self) -> str:
        """What names the training as far as is known without the images: jobs of one name share it."""
        config, recipe = self.config, self._recipe()
        if recipe is None:
            return self.name
        if recipe.batch_size is None:
            recipe = replace(
                recipe,
                train_way=recipe.train_way or config.way,
                train_shot=recipe.train_shot or config.shot,
                val_way=recipe.val_way or config.way,
            )
        return repr((replace(config, **_OPEN), recipe))

    def images(self) -> int:
        """Images that the training sends through its encoder; 0 where nothing is trained."""
        recipe = self._recipe()
        return images_of(recipe, self.config.way, self.config.shot) if recipe else 0

    def work(self) -> float:
        """Numbers of these images, every pixel one for each channel."""
        recipe, name = self._recipe(), self._dataset
        if recipe is None:
            return 0.0
        channels, height, width = DATASETS.get(name if name in DATASETS else "folder").image_shape
        size = (channels, self.config.size, self.config.size) if self.config.size else (channels, height, width)
        return numbers_of(recipe, self.config.way, self.config.shot, size)

    @property
    def _dataset(self) -> str:
        return self.config.dataset or DEFAULT_DATASET

    def _recipe(self) -> Recipe | None:
        """None where nothing is trained, and where the run itself will say why it cannot be."""
        try:
            return recipe_of(self.config, self._dataset)[0]
        except UserError:
            return None


def images_of(recipe: Recipe | StoredRecipe, way: int, shot: int) -> int:
    """Images that a training sends through its encoder; ``way`` and ``shot`` are those of the test."""
    way, shot = recipe.train_way or way, recipe.train_shot or shot
    unlabeled = (recipe.unlabeled or 0) * (way + (recipe.distractors or 0))
    return recipe.train_episodes * (recipe.batch_size or way * (shot + (recipe.train_query or 0)) + unlabeled)


def numbers_of(recipe: Recipe | StoredRecipe, way: int, shot: int, image_shape: tuple[int, int, int]) -> float:
    """Numbers of the images of a training; one at half the side has a quarter."""
    return images_of(recipe, way, shot) * math.prod(image_shape) * (1 - 0.75 * (recipe.half_size or 0.0))


Chain = Sequence[Job]
Result = list[Outcome] | UserError
"""What came of a job: its records, or why there are none."""


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
        made = run_readouts(job.config, dataset, place.out, reporter, root=place.root)
        checkpoint = Path(made[0][0].trained.checkpoint)
        for test in job.tests:
            config = replace(test, checkpoint=checkpoint)
            made += evaluate_again(config, None if test.dataset else dataset, place.out, reporter, root=place.root)
    except UserError as error:
        return UserError(str(error))  # a plain one goes to other processes whole
    return made


def chains_of(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs, those together that share a training."""
    chains: dict[str, list[Job]] = {}
    for job in jobs:
        chains.setdefault(job.training(), []).append(job)
    return list(chains.values())


def work_of(jobs: Sequence[Job]) -> dict[str, float]:
    """The work of each job, by name; of those that share a training the first has it all."""
    first = {id(chain[0]) for chain in chains_of(jobs)}
    return {job.name: job.work() if id(job) in first else 0.0 for job in jobs}
