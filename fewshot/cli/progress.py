"""What a user sees while it runs: bars with loss, validation accuracy, speed and the time that is left."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fewshot.progress import Reporter

if TYPE_CHECKING:
    from fewshot.training.loop import Progress as TrainingProgress


class TerminalReporter(Reporter, AbstractContextManager["TerminalReporter"]):
    """Bars on standard error; where that is no terminal, a plain line every few seconds instead."""

    def __init__(self, seconds_between_lines: float = 10.0) -> None:
        super().__init__()
        self.console = Console(stderr=True, highlight=False, markup=False)  # a path may hold [brackets]
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=False,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._seconds_between_lines, self._last_line = seconds_between_lines, time.monotonic()

    def __enter__(self) -> TerminalReporter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def data_progress(self, what: str, done: int, total: int) -> None:
        self._show(what, done, total)

    def test_progress(self, what: str, done: int, total: int) -> None:
        self._show(what, done, total)

    def training_progress(self, progress: TrainingProgress) -> None:
        super().training_progress(progress)
        detail = f"loss {progress.loss:.3f}  {progress.episodes_per_second:.1f} episodes/s"
        if progress.validation is not None:
            detail += f"  val {100 * progress.validation.accuracy:.2f} ± {100 * progress.validation.ci95:.2f} %"
        self._show("training", progress.episode, progress.train_episodes, detail, progress.episodes_per_second)

    def _show(self, what: str, done: int, total: int, detail: str = "", speed: float = 0.0) -> None:
        if not self.console.is_terminal:
            self._print_line(what, done, total, detail, speed)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, detail=detail)
        self._bars.update(self._tasks[what], completed=done, total=total, detail=detail)

    def _print_line(self, what: str, done: int, total: int, detail: str, speed: float) -> None:
        now = time.monotonic()
        if now - self._last_line < self._seconds_between_lines and not (done == total and detail):
            return
        self._last_line = now
        left = f"  {(total - done) / speed:.0f} s left" if speed else ""
        self.console.print(f"{what} {done}/{total}  {detail}{left}", soft_wrap=True)
