"""Who makes the runs of a sweep, as the command line says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from typing import Any

from episodes.errors import UserError
from fewshot.experiments.sweep.executors import Engine, Processes
from fewshot.experiments.sweep.jobs import Job, Perform, Place, Result, perform
from fewshot.experiments.sweep.loop import results_of

_READS = {
    "local": ("jobs",),
    "ray": ("address", "gpus_per_run"),
    "slurm": ("jobs", "gpus_per_run", "partition", "time"),
}


@dataclass(frozen=True)
class Workers:
    """What the options --executor, --jobs and so on say; None is left open."""

    executor: str = "local"
    jobs: int | None = None
    address: str | None = None
    gpus_per_run: float | None = None
    partition: str | None = None
    time: int | None = None  # minutes

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> Workers:
        """From the command line. Raises UserError for an option that the executor does not read."""
        chosen = cls(**{item.name: choices[item.name] for item in fields(cls)})
        for item in fields(cls)[1:]:
            if getattr(chosen, item.name) is not None and item.name not in _READS[chosen.executor]:
                flag = f"--{item.name.replace('_', '-')}"
                raise UserError(f"--executor {chosen.executor} does not read {flag}: leave it out")
        if chosen.executor == "slurm" and (chosen.gpus_per_run or 1) % 1:
            raise UserError("--executor slurm gives whole GPUs: --gpus-per-run 1")
        return chosen

    @property
    def in_this_process(self) -> bool:
        """Whether one run is made after another, here."""
        return self.executor == "local" and (self.jobs or 1) == 1

    @property
    def at_once(self) -> int:
        """Runs at a time, as far as that is known before."""
        return self.jobs or 1

    def engine(self, jobs: Sequence[Job], place: Place) -> tuple[Engine, Perform]:
        """The engine, and what it is to call for each chain of these jobs. Raises UserError where it is missing."""
        if self.executor == "local":
            return Processes(max(1, min(self.jobs or 1, len(jobs)))), partial(perform, place=place)
        package = {"ray": "ray", "slurm": "submitit"}[self.executor]
        if find_spec(package) is None:
            extra = f"fewshot-bench[{self.executor}]"
            raise UserError(f"--executor {self.executor} needs a package: pip install {package} (or {extra})")
        if self.executor == "ray":
            from fewshot.experiments.sweep.ray_cluster import RayCluster

            cluster = RayCluster(self.address, self.gpus_per_run or 0.0)
            return cluster, cluster.performing(jobs, place)
        from fewshot.experiments.sweep.slurm import Slurm, perform_at_node

        options = {"partition": self.partition, "time_limit": self.time, "jobs": self.jobs}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        return Slurm(place.out, gpus_per_run=int(self.gpus_per_run or 0), **given), partial(
            perform_at_node, place=place
        )

    @contextmanager
    def making(self, place: Place, say: Callable[[str], None]) -> Iterator[Perform]:
        """Make several jobs at once, and then more on the same images; what came of each, in their order.

        The engine is made for the first jobs: they say how many there are at most, and which images they need.
        """
        with ExitStack() as stack:
            made: list[tuple[Engine, Perform]] = []

            def make(jobs: Sequence[Job]) -> list[Result]:
                if not made:
                    engine, perform_there = self.engine(jobs, place)
                    made.append((stack.enter_context(engine), perform_there))
                return results_of(jobs, *made[0], say)

            yield make
