"""Cells of a paper's table, trained one after the other or several at once, each in a process of its own.

One small network does not fill a GPU, and not always a processor: `fewshot reproduce TABLE --run --jobs 4`.
"""

from __future__ import annotations

import json
import math
import os
import shlex
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

from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import open_dataset
from episodes.errors import Interrupted, UserError
from fewshot.cli.progress import TerminalReporter
from fewshot.cli.run import evaluate, evaluate_config, hausdorff, run, run_config
from fewshot.experiments.evaluate import evaluate_again
from fewshot.experiments.hausdorff import measure_hausdorff
from fewshot.experiments.paper_plan import Cell, evaluate_words, run_words
from fewshot.experiments.resolve import DEFAULT_UNLABELED
from fewshot.experiments.run import run_readouts
from fewshot.models.hardware import choose_device
from fewshot.training.loop import Progress as TrainingProgress
from fewshot.training.recipes import RecipeName, find_recipe

COMMANDS = {"run": run, "evaluate": evaluate, "hausdorff": hausdorff}
_BAR = "all cells, %"
_OF_TEST = ("--way", "--shot", "--query", "--readout")  # two cells that differ by these alone may share a training


class PlanReporter(TerminalReporter):
    """The bars of one cell, and one over the work of all cells, with the time that is left.

    Work is counted in pixels that training sends through the encoder; speed is measured in this very process.
    """

    def __init__(self, work: Sequence[float], seconds_between_lines: float = 10.0) -> None:
        super().__init__(seconds_between_lines)
        self._work, self._cell, self._name = list(work), 0, ""
        self._measured_work, self._measured_seconds = 0.0, 0.0
        self._last: tuple[float, float] | None = None  # when this cell's training was last seen, and its share done

    def begin(self, cell: int, name: str, words: Sequence[str]) -> None:
        """Cell number ``cell``, from 0, is next, and this is the command that fills it."""
        self._cell, self._name, self._last = cell, name, None
        for what in [what for what in self._tasks if what != _BAR]:
            self._bars.remove_task(self._tasks.pop(what))
        command = shlex.join(["fewshot", *words])
        self.say(f"cell {cell + 1} of {len(self._work)}: {name}: {command}")
        self._show_plan(0.0)

    def training_progress(self, progress: TrainingProgress) -> None:
        super().training_progress(progress)
        now, share = time.monotonic(), progress.episode / progress.train_episodes
        if self._last is not None:  # the first look of a resumed training shows work of another process
            self._measured_seconds += now - self._last[0]
            self._measured_work += (share - self._last[1]) * self._work[self._cell]
        self._last = now, share
        self._show_plan(share)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all cells are trained, at the speed so far; None before there is any."""
        if not self._measured_work or not self._measured_seconds:
            return None
        share = self._last[1] if self._last is not None else 0.0
        left = sum(self._work[self._cell :]) - share * self._work[self._cell]
        return left * self._measured_seconds / self._measured_work

    def _show_plan(self, share: float) -> None:
        done, total = sum(self._work[: self._cell]) + share * self._work[self._cell], sum(self._work) or 1.0
        left = self.seconds_left
        estimate = "time left: known after the first steps" if left is None else f"about {duration(left)} left"
        detail = f"cell {self._cell + 1} of {len(self._work)}: {self._name}; {estimate}"
        self._show(_BAR, round(100 * done / total), 100, detail)


def duration(seconds: float) -> str:
    """``5 min`` or ``2 h 05 min``."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def share_of_training(cell: Cell, recipe_name: RecipeName, seed: int = 0) -> tuple[str, float]:
    """What names a cell's training (cells of one name share it), and the pixels that it sends through the encoder."""
    ours, column = cell.row.ours, cell.column
    assert ours is not None
    words = run_words(cell, recipe_name, seed)
    if ours.untrained:
        return str(words), 0.0
    recipe = find_recipe(recipe_name, cell.table.dataset, column.shot, ours.model, column.way, ours.encoder)
    chosen: Mapping[str, Any] = vars(recipe) | dict(ours.training)
    way, shot = chosen["train_way"] or column.way, chosen["train_shot"] or column.shot
    of_test = {index + ahead for index, word in enumerate(words) if word in _OF_TEST for ahead in (0, 1)}
    kept = [word for index, word in enumerate(words) if index not in of_test]
    name = str([*kept, way, shot, chosen["val_way"] or column.way])
    unlabeled = (chosen["unlabeled"] or DEFAULT_UNLABELED) if "unlabeled" in ours.training else 0
    images = way * (shot + chosen["train_query"]) + unlabeled * (way + column.distractors)
    if chosen["batch_size"]:  # one training serves every test
        images, name = chosen["batch_size"], str([words[:3], ours.encoder, ours.options])
    shape = DATASETS.get(cell.table.dataset).image_shape
    pixels = 105 * 105 if cell.table.pixels_of(ours).endswith("-105") else math.prod(shape)
    return name, float(chosen["train_episodes"] * images * pixels)


def work_of(cells: Sequence[Cell], recipe_name: RecipeName, seed: int = 0) -> list[float]:
    """Pixels that each cell's training sends through the encoder; cells that share a training pay once."""
    paid: set[str] = set()
    work = []
    for cell in cells:
        name, pixels = share_of_training(cell, recipe_name, seed)
        work.append(0.0 if name in paid else pixels)
        paid.add(name)
    return work


def train_missing(
    cells: Sequence[Cell], recipe: RecipeName, seed: int, more: Sequence[str], seconds_between_lines: float = 10.0
) -> None:
    """Fill these cells one after the other; ``more`` are words for all of them, such as ``--out FOLDER``.

    Each is trained by `fewshot run` and goes on where it was stopped. Raises Interrupted on Ctrl-C.
    """
    reporter = PlanReporter(work_of(cells, recipe, seed), seconds_between_lines)
    with reporter:
        for number, cell in enumerate(cells):
            words = [*run_words(cell, recipe, seed), *more]
            reporter.begin(number, f"{cell.row.name}, {cell.column.title}", words)
            assert cell.row.ours is not None
            if cell.row.ours.by_drawing:
                _score_hausdorff(_parsed(words), reporter)
                continue
            choices = _parsed(words)
            root, out = choices["data"], choices["out"]
            ((record, _),) = run_readouts(run_config(choices), None, out, reporter, root=root)
            if cell.row.ours.test:
                second = [*evaluate_words(cell, record.trained.checkpoint), *more]
                evaluate_again(evaluate_config(_parsed(second)), None, out, reporter, root=root)


def _score_hausdorff(choices: Mapping[str, Any], reporter: TerminalReporter) -> None:
    dataset = open_dataset("omniglot", choices["data"], "lake", reporter=reporter, size=choices["size"])
    measure_hausdorff(dataset, choices["out"], reporter)


def _parsed(words: Sequence[str]) -> Mapping[str, Any]:
    """The choices that the command line makes of these words."""
    name, *rest = words
    return COMMANDS[name].make_context(name, list(rest)).params


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
            processes.run(name, [*evaluate_words(cell, record["trained"]["checkpoint"]), *more])


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
