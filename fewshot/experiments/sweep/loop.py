"""sweep(): all runs through one engine, a line for each that is finished, and what came of every job."""

from __future__ import annotations

import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from queue import Empty, SimpleQueue

from episodes.errors import Interrupted, UserError
from fewshot.experiments.measure import Outcome
from fewshot.experiments.sweep.executors import Engine
from fewshot.experiments.sweep.jobs import Chain, Job, Perform, Result, chains_of
from fewshot.progress import duration
from fewshot.training.loop import signals_to

ATTEMPTS = 3
"""How often a run is begun whose worker ends without an answer; it goes on from its last state."""


def sweep(
    jobs: Sequence[Job], engine: Engine, perform: Perform, say: Callable[[str], None]
) -> tuple[list[Outcome], list[str]]:
    """Make all runs; what came of them, in the order of the jobs, and why others failed. See ``results_of``."""
    outcomes, failures = list[Outcome](), list[str]()
    for job, result in zip(jobs, results_of(jobs, engine, perform, say), strict=True):
        if isinstance(result, list):
            outcomes += result
        else:
            failures.append(f"{job.name}: {result}")
    return outcomes, failures


def results_of(jobs: Sequence[Job], engine: Engine, perform: Perform, say: Callable[[str], None]) -> list[Result]:
    """Make all runs; what came of each, in the order of the jobs.

    Jobs that share a training are made one after another: the second finds it finished. One that fails does not keep
    the others from being made. Raises Interrupted on Ctrl-C, with every training saved.
    """
    sweeping = _Sweep(chains_of(jobs), engine, perform, say)
    with signals_to(lambda *_: sweeping.stop(), (signal.SIGINT, signal.SIGTERM)):  # the runs stop, not this process
        sweeping.make_all()
    if sweeping.stopped:
        raise Interrupted("stopped; the same command goes on from there")
    found = {
        id(job): result
        for index, chain in enumerate(sweeping.chains)
        for job, result in zip(chain, sweeping.results[index], strict=True)
    }
    return [found[id(job)] for job in jobs]


class _Sweep:
    """What is submitted, what came back, and the time that is left at the pace so far."""

    def __init__(self, chains: Sequence[Chain], engine: Engine, perform: Perform, say: Callable[[str], None]) -> None:
        self.chains, self.engine, self.perform, self.say = chains, engine, perform, say
        self.works = [chain[0].work() for chain in chains]
        self.results: dict[int, list[Result]] = {}
        self.stopped = False
        self._attempts, self._ended = Counter[int](), SimpleQueue[tuple[int, Future[list[Result]]]]()
        self._start, self._told, self._total = time.monotonic(), 0, sum(map(len, chains))
        self._work, self._work_done = sum(self.works), 0.0

    def make_all(self) -> None:
        """Where several are made at once the longest come first, so that none is left alone."""
        order = sorted(range(len(self.chains)), key=lambda index: -self.works[index] if self.engine.at_once else index)
        with self.engine.batch():
            for index in order:
                self._begin(index)
                while not self._ended.empty():
                    self._take(*self._ended.get())
        while len(self.results) < len(self.chains):
            try:
                self._take(*self._ended.get(timeout=1.0))
            except Empty:
                continue  # signals are heard in between

    def stop(self) -> None:
        """Let what runs save what it has; what comes back from now on may be cut off."""
        self.stopped = True
        self.engine.stop()

    def _begin(self, index: int) -> None:
        self._attempts[index] += 1
        future = self.engine.submit(self.perform, self.chains[index])
        future.add_done_callback(lambda done: self._ended.put((index, done)))

    def _take(self, index: int, future: Future[list[Result]]) -> None:
        error, chain = future.exception(), self.chains[index]
        if isinstance(error, Interrupted | KeyboardInterrupt) or (error and self.stopped):
            self.stopped, self.results[index] = True, []
            return
        if isinstance(error, BrokenExecutor):
            if self._attempts[index] < ATTEMPTS:
                self._begin(index)
                return
            error = UserError(f"its worker ended without an answer, {ATTEMPTS} times ({error})")
        self.results[index] = [_reason(error)] * len(chain) if error else future.result()
        self._work_done += self.works[index]
        for job, result in zip(chain, self.results[index], strict=True):
            self._tell(job, result)

    def _tell(self, job: Job, result: Result) -> None:
        self._told += 1
        passed = time.monotonic() - self._start
        share = self._work_done / self._work if self._work_done else self._told / self._total
        left = f" (about {duration(passed / share - passed)} left)" if self._told < self._total else ""
        made = result[-1][0] if isinstance(result, list) else result
        what = f"failed: {made}" if isinstance(made, UserError) else made.percent()
        self.say(f"{self._told}/{self._total} {job.name} {what}{left}")


def _reason(error: BaseException) -> UserError:
    """Why a run failed, in a line. What nobody foresaw is printed whole."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        return UserError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    traceback.print_exception(error)
    return UserError(f"{type(error).__name__}: {error}")
