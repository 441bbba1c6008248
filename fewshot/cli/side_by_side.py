"""Cells of a paper's table made several at once, each training in a process of its own.

One small network does not fill a GPU, and not always a processor: `fewshot reproduce TABLE --run --jobs 4`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Lock
from types import FrameType
from typing import Any

from episodes.errors import Interrupted, UserError
from fewshot.cli.reproduce import duration, share_of_training
from fewshot.experiments.paper_plan import Cell, evaluate_words, run_words
from fewshot.models.hardware import choose_device
from fewshot.training.recipes import RecipeName

_FEWSHOT = "import sys; from fewshot.cli.main import main; main(sys.argv[1:])"
Say = Callable[[str], None]


class Processes:
    """Commands of fewshot in processes of their own, which can all be told to stop."""

    def __init__(self, jobs: int, say: Say) -> None:
        self._say, self._running, self._lock, self.stopped = say, set[subprocess.Popen[str]](), Lock(), False
        self._environment = dict(os.environ)
        if choose_device().type == "cpu":  # they would take the cores from one another
            self._environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))

    def run(self, name: str, words: Sequence[str]) -> dict[str, Any]:
        """The record that a command prints as JSON. What it says meanwhile is passed on under ``name``.

        Raises UserError with its last line where it fails, Interrupted where it was told to stop.
        """
        with tempfile.TemporaryFile("w+") as answer:
            with self._lock:
                if self.stopped:
                    raise Interrupted
                process = subprocess.Popen(  # in a session of its own: Ctrl-C reaches it once, from here
                    [sys.executable, "-c", _FEWSHOT, *words, "--json"], stdout=answer, stderr=subprocess.PIPE,
                    text=True, env=self._environment, start_new_session=True,
                )  # fmt: skip
                self._running.add(process)
            last = ""
            with process:
                assert process.stderr is not None
                for line in process.stderr:
                    last = line.strip() or last
                    self._say(f"[{name}] {line.rstrip()}")
            status = process.returncode
            with self._lock:
                self._running.discard(process)
            if self.stopped:
                raise Interrupted
            if status:
                raise UserError(f"{name}: {last.removeprefix('fewshot: ')}")
            answer.seek(0)
            found: dict[str, Any] = json.load(answer)
            return found

    def stop(self) -> None:
        """Ask all to save what they have and to end; commands that come later are not begun."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.send_signal(signal.SIGINT)


def chains_of(cells: Sequence[Cell], recipe: RecipeName, seed: int = 0) -> list[list[int]]:
    """Numbers of the cells, those together that share a training: the second finds it finished."""
    chains: dict[str, list[int]] = {}
    for number, cell in enumerate(cells):
        chains.setdefault(share_of_training(cell, recipe, seed)[0], []).append(number)
    return list(chains.values())


def train_side_by_side(
    cells: Sequence[Cell], recipe: RecipeName, seed: int, more: Sequence[str], jobs: int, say: Say
) -> None:
    """Fill these cells, ``jobs`` trainings at a time; ``more`` are words for all of them, such as ``--out FOLDER``.

    A cell that fails does not keep the others from being filled. Raises UserError with the first reason then, and
    Interrupted on Ctrl-C, with every training saved.
    """
    chains = chains_of(cells, recipe, seed)
    works = [max(share_of_training(cells[number], recipe, seed)[1] for number in chain) for chain in chains]
    start, done, finished, failures = time.monotonic(), 0.0, 0, list[str]()
    processes = Processes(jobs, say)
    with _stopping(processes), ThreadPoolExecutor(jobs) as pool:
        order = sorted(range(len(chains)), key=lambda index: -works[index])  # the longest first, so none is left alone
        waiting = {
            pool.submit(_fill_chain, [cells[number] for number in chains[index]], recipe, seed, more, processes): index
            for index in order
        }
        while waiting:
            ready, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)  # signals are heard in between
            for future in ready:
                index = waiting.pop(future)
                if isinstance(error := future.exception(), UserError):
                    failures.append(str(error))
                elif error is not None and not isinstance(error, Interrupted):
                    raise error
                done, finished = done + works[index], finished + 1
                left = (time.monotonic() - start) / max(done, 1.0) * (sum(works) - done)
                rest = f"; about {duration(left)} left" if finished < len(chains) and done else ""
                say(f"{finished} of {len(chains)} trainings finished{rest}")
    if processes.stopped:
        raise Interrupted("stopped; the same command goes on from there")
    if failures:
        raise UserError(f"{len(failures)} of {len(chains)} trainings failed, all others are there; {failures[0]}")


def _fill_chain(
    cells: Sequence[Cell], recipe: RecipeName, seed: int, more: Sequence[str], processes: Processes
) -> None:
    """Fill cells that share a training, one after the other."""
    for cell in cells:
        name = f"{cell.row.name}, {cell.column.title}"
        record = processes.run(name, [*run_words(cell, recipe, seed), *more])
        if cell.row.ours is not None and cell.row.ours.test:
            processes.run(name, [*evaluate_words(cell, record["config"]["checkpoint"]), *more])


@contextmanager
def _stopping(processes: Processes) -> Iterator[None]:
    """Ctrl-C or a termination signal stops the processes, instead of this one alone."""
    before: Mapping[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        processes.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
