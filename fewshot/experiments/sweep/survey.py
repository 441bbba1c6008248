"""What of a sweep is finished, what it trains on how many images, and about how long that takes on this machine."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from episodes.datasets.base import Dataset, dataset_class
from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import DEFAULT_DATASET, open_dataset
from episodes.errors import UserError
from episodes.progress import Progress, silent
from episodes.types import ImageSet, Split
from fewshot.experiments.config import RunConfig
from fewshot.experiments.measure import ScoredEpisodes
from fewshot.experiments.resolve import ResolvedRun, TrainingPlan
from fewshot.experiments.run import initial_method, training_sampler
from fewshot.experiments.sweep.jobs import Job, Place, numbers_of
from fewshot.models.factory import place as placed
from fewshot.models.hardware import choose_device, describe_machine
from fewshot.models.methods import METHODS
from fewshot.records.record import RunRecord
from fewshot.statistics.intervals import Interval
from fewshot.training.checkpoints import CHECKPOINT, training_name
from fewshot.training.loop import train
from fewshot.training.recipes import images_encoded

State = Literal["finished", "trained", "to train", "shared", "refused"]
SECONDS_OF_MEASURING = 20.0
"""For so long speeds are measured that no record tells."""


@dataclass(frozen=True)
class Surveyed:
    """A job and how much of it is there.

    ``shared`` is a job whose training another one of the sweep makes; ``why`` says why one is refused. ``images`` pass
    the encoder in its training, which takes ``seconds`` where a speed is known.
    """

    job: Job
    state: State
    records: tuple[RunRecord, ...] = ()
    images: int = 0
    seconds: float | None = None
    why: str = ""


def survey(
    jobs: Sequence[Job], place: Place, records: Iterable[RunRecord], *, estimate: bool = False
) -> list[Surveyed]:
    """What is there of every job; with ``estimate`` also how long the others take. Nothing is downloaded."""
    surveyor = _Surveyor(place, records, Speeds(records) if estimate else None)
    return [surveyor.look(job) for job in jobs]


def in_memory(dataset: Dataset, kept: dict[Split, ImageSet] | None = None) -> Dataset:
    """The same data set, which loads every split once, or not at all where it is among those that are ``kept``."""
    kept = {} if kept is None else kept

    def load(split: Split, progress: Progress = silent) -> ImageSet:
        if split not in kept:
            kept[split] = dataset.load(split, progress)
        return kept[split]

    loaded = copy.copy(dataset)
    loaded.load = load  # type: ignore[method-assign]
    loaded.what_fits = lambda image_set: ""  # type: ignore[method-assign]  # it may look at files that are not here
    return loaded


class _Surveyor:
    """Records by what they are of, data sets that are open, and trainings that were seen."""

    def __init__(self, place: Place, records: Iterable[RunRecord], speeds: Speeds | None) -> None:
        self._place, self._speeds = place, speeds
        self._datasets: dict[tuple[object, ...], Dataset | None] = {}
        self._of_any_seed: dict[str, ResolvedRun] = {}
        self._seen: set[str] = set()
        self._of: dict[tuple[object, ...], RunRecord] = {}
        self._by_command: dict[str, list[RunRecord]] = defaultdict(list)
        for record in records:
            name = training_name(Path(record.trained.checkpoint)) if record.trained.checkpoint else record.command
            self._of[name, record.protocol, record.num_episodes, record.episode_seed, record.readout] = record
            self._by_command[record.command].append(record)

    def look(self, job: Job) -> Surveyed:
        """Where a job stands; of those that share a training the first has it all."""
        try:
            resolved = self._resolved(job.config)
        except UserError as error:
            return Surveyed(job, "refused", why=str(error))
        if resolved:
            folder = resolved.folder(self._place.out)
            if records := self._records(job, resolved, folder):
                return Surveyed(job, "finished", records)
            if (folder / CHECKPOINT).exists() and not (folder / "state.safetensors").exists():
                return Surveyed(job, "trained")
            training = folder.name
        else:
            training = job.training
        if training in self._seen:
            return Surveyed(job, "shared")
        self._seen.add(training)
        images, _ = _images_and_work(job, resolved)
        seconds = self._speeds.seconds(job, resolved) if self._speeds and images else None
        return Surveyed(job, "to train", images=images, seconds=seconds)

    def _opened(self, config: RunConfig) -> Dataset | None:
        """The data set of a run; None where it is not on this machine."""
        key = (config.dataset, config.class_split, config.size)
        if key not in self._datasets:
            name = config.dataset or DEFAULT_DATASET
            where = self._place.root, config.class_split
            here = name not in DATASETS or dataset_class(name)(*where).is_present()
            self._datasets[key] = in_memory(open_dataset(config.dataset, *where, size=config.size)) if here else None
        return self._datasets[key]

    def _resolved(self, config: RunConfig) -> ResolvedRun | None:
        """The run on its data; worked out once for all seeds of a training, since that takes longer than the rest."""
        dataset = self._opened(config)
        if dataset is None or METHODS.get(config.model).trains_on == "nothing":  # its command, with the seed, names it
            return config.resolve(dataset) if dataset else None
        key = repr(replace(config, seed=0))
        if key not in self._of_any_seed:
            self._of_any_seed[key] = config.resolve(dataset)
        known = self._of_any_seed[key]
        return replace(known, config=replace(known.config, seed=config.seed))

    def _records(self, job: Job, resolved: ResolvedRun, folder: Path) -> tuple[RunRecord, ...]:
        """All records of a job; none where one is missing."""
        plan, found = resolved.test, list[RunRecord | None]()
        assert plan is not None
        for sampler in plan.samplers:
            protocol = ScoredEpisodes(plan.dataset, sampler, plan.num_episodes, "").protocol
            for readout in plan.readouts:
                of = (protocol, plan.num_episodes, sampler.seed, readout)
                found.append(self._of.get((folder.name, *of)) or self._of.get((plan.command, *of)))
        for test in job.tests:
            again = self._by_command[replace(test, checkpoint=folder / CHECKPOINT).to_command()]
            found += again or [None]
        return tuple(record for record in found if record) if all(found) else ()


class Speeds:
    """Pixels a second that trainings take on this machine: of records where there are any, else of a few steps."""

    def __init__(self, records: Iterable[RunRecord]) -> None:
        self._measured, self._known = 0.0, defaultdict[tuple[str, ...], list[float]](list)
        machine = describe_machine(choose_device())
        here = [machine[name] for name in ("device", "name", "cores")]
        for record in records:
            hardware, trained, seconds = record.hardware, record.trained, record.cost.training_seconds
            known = trained.recipe.batch_size or (trained.recipe.train_way and trained.recipe.train_shot)
            if [hardware.device, hardware.name, hardware.cores] == here and seconds and trained.image_shape and known:
                images = images_encoded(trained.recipe, trained.model, trained.model_options)
                work = trained.recipe.train_episodes * images * numbers_of(trained.recipe, trained.image_shape)
                self._add(trained.model, trained.encoder, work / seconds)

    def seconds(self, job: Job, resolved: ResolvedRun | None) -> float | None:
        """About how long the training of a job takes; None where nothing is known of this machine."""
        model, encoder = job.config.model, job.config.checked().encoder or ""
        unknown = (model, encoder) not in self._known and self._measured < SECONDS_OF_MEASURING
        if unknown and resolved and resolved.training:
            start = time.perf_counter()
            self._add(model, encoder, measured_speed(job, resolved, resolved.training))
            self._measured += time.perf_counter() - start
        found = next((self._known[key] for key in _keys(model, encoder) if key in self._known), None)
        return _images_and_work(job, resolved)[1] / statistics.median(found) if found else None

    def _add(self, model: str, encoder: str, speed: float) -> None:
        for key in _keys(model, encoder):
            self._known[key].append(speed)


def _images_and_work(job: Job, resolved: ResolvedRun | None) -> tuple[int, float]:
    """Images that a training sends through its encoder, and their numbers; exactly so where the images are here."""
    if resolved is None or resolved.training is None:
        return job.images(), job.work()
    images = resolved.images()
    return images, images * numbers_of(resolved.training.recipe, resolved.dataset.image_shape)


def _keys(model: str, encoder: str) -> tuple[tuple[str, ...], ...]:
    """What a speed says something of, the nearest first."""
    return (model, encoder), (encoder,), ()


def measured_speed(job: Job, resolved: ResolvedRun, training: TrainingPlan) -> float:
    """Pixels a second, over three training episodes of whole images behind a first one; nothing is kept."""
    method = placed(initial_method(resolved, training), resolved.device)
    sampler = training_sampler(training.train_set, training.recipe, resolved.config.seed)

    def seconds(count: int) -> float:
        steps = replace(training.recipe, half_size=None, train_episodes=count, validate_every=count)
        start = time.perf_counter()
        train(method, sampler, steps, lambda _: Interval(0.0, 0.0, 1), precision=resolved.precision)
        return time.perf_counter() - start

    seconds(1)
    images = 3 * images_encoded(training.recipe, job.config.model, job.config.model_options)
    return images * math.prod(resolved.dataset.image_shape) / seconds(3)
