"""Many runs: one after another in this process, or several at once, each in a process of its own.

One small network does not fill a GPU, and not always a processor. An executor is a class with ``submit`` and
``cancel``; nothing else here knows where a run is made.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import DEFAULT_DATASET
from episodes.errors import Interrupted, UserError
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.measure import Outcome
from fewshot.experiments.resolve import recipe_of
from fewshot.experiments.run import run_readouts
from fewshot.models.hardware import choose_device, keep_freed_memory
from fewshot.progress import LineReporter, Reporter, duration
from fewshot.training.recipes import Recipe

Chain = Sequence["Job"]
_CHILD = "from fewshot.experiments.sweep import answer; answer()"
_OF_TEST = ("way", "shot", "query", "episodes", "episode_seed", "protocol", "readout")


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
        default = RunConfig()
        return repr((replace(config, **{name: getattr(default, name) for name in _OF_TEST}), recipe))

    def work(self) -> float:
        """Numbers of the images that the training sends through its encoder; 0 where nothing is trained."""
        config, recipe = self.config, self._recipe()
        if recipe is None:
            return 0.0
        way, shot = recipe.train_way or config.way, recipe.train_shot or config.shot
        unlabeled = (recipe.unlabeled or 0) * (way + (recipe.distractors or 0))
        images = recipe.batch_size or way * (shot + recipe.train_query) + unlabeled
        name = self._dataset
        channels, height, width = DATASETS.get(name if name in DATASETS else "folder").image_shape
        size = (channels, config.size, config.size) if config.size else (channels, height, width)
        return float(recipe.train_episodes * images * math.prod(size))

    @property
    def _dataset(self) -> str:
        return self.config.dataset or DEFAULT_DATASET

    def _recipe(self) -> Recipe | None:
        """None where nothing is trained, and where the run itself will say why it cannot be."""
        try:
            return recipe_of(self.config, self._dataset)[0]
        except UserError:
            return None


@dataclass(frozen=True)
class Place:
    """Where runs write, and where the data sets lie."""

    out: Path = Path("runs")
    root: Path | None = None


def perform(chain: Chain, place: Place, reporter: Reporter) -> list[Outcome]:
    """Make these runs one after another, here and now."""
    outcomes = []
    for job in chain:
        reporter.begin(job.name)
        made = run_readouts(job.config, None, place.out, reporter, root=place.root)
        checkpoint = Path(made[0][0].trained.checkpoint)
        for test in job.tests:
            config = replace(test, checkpoint=checkpoint)
            made += evaluate_again(config, None, place.out, reporter, root=place.root)
        outcomes += made
    return outcomes


@runtime_checkable
class Executor(Protocol):
    """Who makes runs; ``at_once`` where several are made at a time."""

    at_once: bool

    def submit(self, chain: Chain) -> Future[list[Outcome]]:
        """Make these runs one after another, now or later."""

    def cancel(self) -> None:
        """Let all that run save what they have, and begin no other."""


class InThisProcess:
    """One chain after another, each when it is submitted. On Ctrl-C the training loop saves and raises Interrupted."""

    at_once = False

    def __init__(self, place: Place, reporter: Reporter) -> None:
        self.place, self.reporter = place, reporter

    def submit(self, chain: Chain) -> Future[list[Outcome]]:
        future: Future[list[Outcome]] = Future()
        try:
            future.set_result(perform(chain, self.place, self.reporter))
        except UserError as error:
            future.set_exception(error)
        return future

    def cancel(self) -> None:
        raise KeyboardInterrupt


class Processes:
    """So many chains at a time, each in a process of its own, which tells what it does on standard error."""

    at_once = True

    def __init__(self, place: Place, count: int) -> None:
        self.place, self.stopped = place, False
        self._pool, self._running, self._lock = ThreadPoolExecutor(count), set[subprocess.Popen[bytes]](), Lock()
        self._environment = dict(os.environ)
        if choose_device().type == "cpu":  # they would take the cores from one another
            self._environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // count))

    def submit(self, chain: Chain) -> Future[list[Outcome]]:
        return self._pool.submit(self._in_a_process, chain)

    def cancel(self) -> None:
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.send_signal(signal.SIGINT)

    def _in_a_process(self, chain: Chain) -> list[Outcome]:
        with self._lock:
            if self.stopped:
                raise Interrupted
            process = subprocess.Popen(  # in a session of its own: Ctrl-C reaches it once, from here
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
            self._running.add(process)
        answered, _ = process.communicate(pickle.dumps((perform, chain, self.place)))
        with self._lock:
            self._running.discard(process)
        if self.stopped:
            raise Interrupted
        if process.returncode:
            raise UserError(f"its process ended with status {process.returncode}")
        outcome: list[Outcome] | UserError = pickle.loads(answered)
        if isinstance(outcome, UserError):
            raise outcome
        return outcome

    def close(self) -> None:
        """No more is to come."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def answer() -> None:
    """What a process of its own does: read what is to be made from standard input, write what came of it."""
    stdout, sys.stdout = sys.stdout.buffer, sys.stderr  # whatever is printed meanwhile is no answer
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it is ignored, as behind nohup
    act, chain, place = pickle.load(sys.stdin.buffer)
    keep_freed_memory()
    try:
        outcome = act(chain, place, LineReporter())
    except UserError as error:
        outcome = UserError(str(error))
    except (Interrupted, KeyboardInterrupt):
        sys.exit(130)
    stdout.write(pickle.dumps(outcome))


def sweep(jobs: Sequence[Job], executor: Executor, say: Callable[[str], None]) -> tuple[list[Outcome], list[str]]:
    """Make all runs; what came of them, in the order of the jobs, and why others failed.

    Jobs that share a training are made one after another: the second finds it finished. One that fails does not keep
    the others from being made. Raises Interrupted on Ctrl-C, with every training saved.
    """
    chains = chains_of(jobs)
    works = [chain[0].work() for chain in chains]
    order = sorted(range(len(chains)), key=lambda index: -works[index] if executor.at_once else index)
    progress = _Progress(len(chains), sum(works), say)
    futures: dict[int, Future[list[Outcome]]] = {}
    with _cancelling(executor):
        for index in order:  # where several are made at once the longest come first, so that none is left alone
            futures[index] = executor.submit(chains[index])
            futures[index].add_done_callback(partial(progress.finished, chains[index], works[index]))
        while wait(futures.values(), timeout=1.0).not_done:  # signals are heard in between
            pass
    if any(isinstance(future.exception(), Interrupted) for future in futures.values()):
        raise Interrupted("stopped; the same command goes on from there")
    outcomes, failures = list[Outcome](), list[str]()
    for index in sorted(futures):
        if isinstance(error := futures[index].exception(), UserError):
            failures.append(f"{chains[index][0].name}: {error}")
        else:
            outcomes += futures[index].result()
    return outcomes, failures


class _Progress:
    """Tells of every chain that is finished, and of the time that is left at the pace so far."""

    def __init__(self, total: int, work: float, say: Callable[[str], None]) -> None:
        self.total, self.work, self.say, self.lock = total, work, say, Lock()
        self.count, self.done, self.start = 0, 0.0, time.monotonic()

    def finished(self, chain: Chain, work: float, future: Future[list[Outcome]]) -> None:
        """One more is."""
        error = future.exception()
        if isinstance(error, Interrupted):
            return
        with self.lock:
            self.count, self.done = self.count + 1, self.done + work
            passed, share = (
                time.monotonic() - self.start,
                self.done / self.work if self.done else self.count / self.total,
            )
            what = f"failed: {error}" if error else future.result()[-1][0].percent()
            left = f" (about {duration(passed / share - passed)} left)" if self.count < self.total else ""
            self.say(f"{self.count}/{self.total} {chain[0].name} {what}{left}")


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


@contextmanager
def _cancelling(executor: Executor) -> Iterator[None]:
    """Ctrl-C or a termination signal stops the runs, instead of this process alone."""
    before: Mapping[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        executor.cancel()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
