"""What a user sees while it runs: bars with loss, validation accuracy, speed and the time that is left."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from episodes.errors import visible
from fewshot.progress import LineReporter, duration

if TYPE_CHECKING:
    from fewshot.experiments.sweep.jobs import Job, Place
    from fewshot.experiments.sweep.workers import Workers
    from fewshot.records.record import RunRecord
    from fewshot.training.loop import Progress as TrainingProgress

_ALL = "all runs, %"


def is_terminal(stream: Any) -> bool:
    """Whether somebody looks at it who sees a bar grow; not where it is closed."""
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:
        return False


class TerminalReporter(LineReporter, AbstractContextManager["TerminalReporter"]):
    """Bars on standard error, each until it is full; where none can be drawn, a plain line every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        # Notebooks set FORCE_COLOR for their kernels, which is a wish for colors and makes no terminal of a pipe; and a
        # path may hold [brackets].
        self.console = Console(
            stderr=True, highlight=False, markup=False, force_terminal=is_terminal(sys.stderr), force_jupyter=False
        )
        self._draws = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=False,
            disable=not self._draws,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalReporter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        lines = textwrap.wrap(visible(text), self.console.width, break_long_words=False, break_on_hyphens=False)
        self.console.print("\n".join(lines) if self.console.is_terminal else visible(text), soft_wrap=True)

    def show(self, what: str, done: int, total: int, detail: str = "", speed: float = 0.0) -> None:
        if not self._draws:
            super().show(what, done, total, detail, speed)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, detail=detail)
        self._bars.update(self._tasks[what], completed=done, total=total, detail=detail, visible=done < total)


class SweepReporter(TerminalReporter):
    """The bars of one run, and one over the work of all runs, with the time that is left.

    ``works`` has the work of each run by its name, in any unit; speed is measured in this very process.
    """

    def __init__(self, works: Mapping[str, float]) -> None:
        super().__init__()
        self._works, self._number = works, -1
        self._measured_work, self._measured_seconds = 0.0, 0.0
        self._last: tuple[float, float] | None = None  # when this run's training was last seen, and its share done

    def begin(self, name: str) -> None:
        super().begin(name)
        self._number, self._last = [*self._works].index(name), None
        for what in [what for what in self._tasks if what != _ALL]:
            self._bars.remove_task(self._tasks.pop(what))
        self.say(f"run {self._number + 1} of {len(self._works)}: {name}")

    def training_progress(self, progress: TrainingProgress) -> None:
        super().training_progress(progress)
        now, share, work = time.monotonic(), progress.episode / progress.train_episodes, self._works[self.name]
        if self._last is not None:  # the first look of a resumed training shows work of another process
            self._measured_seconds += now - self._last[0]
            self._measured_work += (share - self._last[1]) * work
        self._last = now, share
        done, left = sum([*self._works.values()][: self._number]) + share * work, self.seconds_left
        estimate = "time left: known after the first steps" if left is None else f"about {duration(left)} left"
        detail = f"run {self._number + 1} of {len(self._works)}: {self.name}; {estimate}"
        self.show(_ALL, round(100 * done / (sum(self._works.values()) or 1.0)), 100, detail)

    def _foretell(self, what: str, done: int, total: int, speed: float = 0.0) -> None:
        """Not of each run: it is told of all of them."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is trained, at the speed so far; None before there is any."""
        if not self._measured_work or not self._measured_seconds:
            return None
        share = self._last[1] if self._last is not None else 0.0
        left = sum([*self._works.values()][self._number :]) - share * self._works[self.name]
        return left * self._measured_seconds / self._measured_work


def carry_out(
    jobs: Sequence[Job], place: Place, records: Iterable[RunRecord], workers: Workers | None = None
) -> tuple[list[RunRecord], list[str]]:
    """Make what of these jobs is not among the records; all their records, and why some failed.

    Without ``workers`` one after another in this process.
    """
    from fewshot.experiments.sweep.executors import InThisProcess
    from fewshot.experiments.sweep.jobs import perform, work_of
    from fewshot.experiments.sweep.loop import sweep
    from fewshot.experiments.sweep.survey import survey
    from fewshot.models.hardware import keep_freed_memory

    found = survey(jobs, place, records)
    left = [one.job for one in found if one.state not in ("finished", "refused")]
    if finished := sum(one.state == "finished" for one in found):
        click.echo(f"{finished} of {len(jobs)} are finished", err=True)
    refused = [f"{one.job.name}: {one.why}" for one in found if one.state == "refused"]
    keep_freed_memory()
    if workers is None or workers.in_this_process:
        with SweepReporter(work_of(left)) as reporter:
            act = partial(perform, place=place, reporter=reporter)
            outcomes, failures = sweep(left, InThisProcess(), act, reporter.say)
    else:
        engine, perform_there = workers.engine(left, place)
        with engine:
            outcomes, failures = sweep(left, engine, perform_there, lambda line: click.echo(line, err=True))
    records = [record for one in found for record in one.records] + [record for record, _ in outcomes]
    return records, refused + failures


def end(failures: Sequence[str], total: int) -> None:
    """Name what failed; then the exit status is 1."""
    for failure in failures:
        click.echo(f"failed: {failure}", err=True)
    if failures:
        click.echo(f"fewshot: {len(failures)} of {total} failed, all others are there", err=True)
        sys.exit(1)
