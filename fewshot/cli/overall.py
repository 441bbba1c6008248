"""One progress line over many runs: which one, how far it is, how many there are, and the time that is left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fewshot.progress import Reporter

if TYPE_CHECKING:
    from fewshot.training.loop import Progress as TrainingProgress

_TRAINING_SHARE = 0.6  # of a run's time, for the bar; the test is the rest


class OverallReporter(Reporter):
    """Shows a single line over ``num_runs`` runs; where standard error is no terminal, a line for each finished run.

    ``begin`` and ``end`` frame a run. ``left`` counts on each run taking as long as the finished ones did.
    """

    def __init__(self, num_runs: int) -> None:
        super().__init__()
        self.num_runs, self.finished = num_runs, 0
        self.console = Console(stderr=True, highlight=False, markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[detail]}"))
        self._bar = Progress(
            *columns, TimeElapsedColumn(), console=self.console, disable=not self.console.is_terminal, transient=True
        )
        self._task = self._bar.add_task("starting", total=num_runs, detail="")
        self._start = time.monotonic()

    def __enter__(self) -> OverallReporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, name: str) -> None:
        """The next run starts; its notes begin empty."""
        self.notes = []
        self._bar.update(self._task, description=f"{self.finished + 1}/{self.num_runs} {name}")

    def end(self, outcome: str) -> None:
        """The run is finished, with this outcome in a few words."""
        self.finished += 1
        text = f"{self.finished}/{self.num_runs} {outcome}"
        if self.finished < self.num_runs:
            text += f"  (about {self.left():.0f} s left)"
        self.console.print(text, soft_wrap=True)
        self._bar.update(self._task, completed=self.finished, detail=f"{self.left():.0f} s left")

    def left(self) -> float:
        """Seconds until all runs are finished, at the pace of the finished ones."""
        passed = time.monotonic() - self._start
        return passed / max(1, self.finished) * (self.num_runs - self.finished)

    def training_progress(self, progress: TrainingProgress) -> None:
        super().training_progress(progress)
        self._bar.update(
            self._task, completed=self.finished + _TRAINING_SHARE * progress.episode / progress.train_episodes
        )

    def test_progress(self, what: str, done: int, total: int) -> None:
        if what == "testing":
            share = _TRAINING_SHARE + (1 - _TRAINING_SHARE) * done / total
            self._bar.update(self._task, completed=self.finished + share)
