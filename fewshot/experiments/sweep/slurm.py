"""SLURM, through submitit: a job array on a disk that all nodes share."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.helpers import Checkpointable

from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import DEFAULT_DATASET
from episodes.errors import UserError
from fewshot.experiments.sweep.executors import Engine
from fewshot.experiments.sweep.jobs import Chain, Place, Result, perform
from fewshot.experiments.sweep.release import check_release, release

T = TypeVar("T")
SECONDS_BETWEEN_LOOKS = 1.0


class Slurm(Engine):
    """Each run a job; SLURM queues, places and begins again what it preempts, and submitit hands over what came of it.

    ``cluster="local"`` is submitit's own stand-in for SLURM: processes of this machine.
    """

    def __init__(
        self,
        out: Path,
        partition: str | None = None,
        time_limit: int = 24 * 60,
        jobs: int = 256,
        gpus_per_run: int = 0,
        cluster: str = "slurm",
    ) -> None:
        try:
            self._executor = submitit.AutoExecutor(folder=(out / "slurm").absolute(), cluster=cluster)
        except RuntimeError as error:
            raise UserError(f"--executor slurm: {error}") from None
        asked = {"slurm_partition": partition, "slurm_array_parallelism": jobs, "gpus_per_node": gpus_per_run or None}
        asked = {name: value for name, value in asked.items() if value}
        self._executor.update_parameters(timeout_min=time_limit, cpus_per_task=1, **asked)
        self._waiting: list[tuple[Any, Future[Any]]] = []
        self._open, self._in_batch = True, False
        self._watch = Thread(target=self._look, daemon=True)

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._executor.batch():
            self._in_batch = True
            yield
        self._in_batch = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self._waiting.append((self._executor.submit(_Requeued(release()), fn, *args, **kwargs), future))
        if not self._watch.is_alive():
            self._watch.start()
        return future

    def stop(self) -> None:
        for job, _ in [*self._waiting]:
            job.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._open = False

    def _look(self) -> None:
        """Hand on what the jobs that are done have left."""
        while self._open:
            for entry in [] if self._in_batch else [*self._waiting]:
                job, future = entry
                if not job.done():
                    continue
                self._waiting.remove(entry)
                try:
                    future.set_result(job.result())
                except FailedJobError as error:
                    reason = next(
                        (line for line in reversed(str(error).splitlines()) if "Error: " in line), "it failed"
                    )
                    future.set_exception(UserError(f"{reason} (its log is {job.paths.stderr})"))
                except UncompletedJobError as error:
                    future.set_exception(BrokenExecutor(str(error).partition("\n")[0]))
                except Exception as error:  # the file of one job cannot be read: the others go on
                    said = f"what the job left cannot be read ({error}): its log is {job.paths.stderr}"
                    future.set_exception(UserError(said))
            time.sleep(SECONDS_BETWEEN_LOOKS)


def perform_at_node(chain: Chain, place: Place) -> list[Result]:
    """perform, where the images are on the node's disk: no node fetches them for itself."""
    config = chain[0].config
    name = config.dataset or DEFAULT_DATASET
    if name in DATASETS:
        dataset = dataset_class(name)(place.root, config.class_split)
        if not dataset.is_present():
            lacking = f"{name} is not on {platform.node()} in {dataset.root}: put it on a disk that all nodes share"
            return [UserError(lacking)] * len(chain)
    return perform(chain, place)


class _Requeued(Checkpointable):
    """A call that is begun again where its time ran out: a training goes on from its last state."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted

    def __call__(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        check_release(self.wanted)
        return fn(*args, **kwargs)
