"""Reporter: who is told how far a run is, and keeps the notes that go into its record."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from episodes.errors import visible
from episodes.progress import Listener

if TYPE_CHECKING:
    from fewshot.evaluation.result import Evaluation
    from fewshot.training.loop import Progress as TrainingProgress


_SECONDS_MEASURED, _SECONDS_UNTOLD, _SECONDS_BETWEEN_LINES = 1.0, 10.0, 10.0


class Reporter(Listener):
    """Silent: what a program gets that calls the package. ``notes`` go into the record."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.evaluations: list[Evaluation] | None = None  # a list keeps every prediction of what is tested

    def begin(self, name: str) -> None:
        """One of several runs begins; what was noted of the one before is not its own."""
        self.notes = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def test_progress(self, what: str, done: int, total: int) -> None:
        """Embedding or testing has come this far."""

    def training_progress(self, progress: TrainingProgress) -> None:
        """Training has come this far."""


class LineReporter(Reporter):
    """Lines on standard error, at most one every few seconds of how far it is; behind the name of the run, if any."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self._last_line = "", time.monotonic()
        self._first: dict[str, tuple[float, int] | None] = {}  # when what was first seen, and how far; None: it is told

    def begin(self, name: str) -> None:
        super().begin(name)
        self.name = name
        self._first.clear()

    def say(self, text: str) -> None:
        print(visible(f"[{self.name}] {text}" if self.name else text), file=sys.stderr, flush=True)

    def data_progress(self, what: str, done: int, total: int) -> None:
        self.show(what, done, total)

    def test_progress(self, what: str, done: int, total: int) -> None:
        self._foretell(what, done, total)
        self.show(what, done, total)

    def training_progress(self, progress: TrainingProgress) -> None:
        detail = f"loss {progress.loss:.3f}"
        if progress.validation is not None:
            detail += f"  val {100 * progress.validation.accuracy:.2f} ± {100 * progress.validation.ci95:.2f} %"
        self._foretell("training", progress.episode, progress.train_episodes, progress.episodes_per_second)
        self.show("training", progress.episode, progress.train_episodes, detail, progress.episodes_per_second)

    def _foretell(self, what: str, done: int, total: int, speed: float = 0.0) -> None:
        """Say once how long it will take, as soon as the speed is known: given, or measured over a second."""
        now = time.monotonic()
        first = self._first.setdefault(what, (now, done))
        if first is None:
            return
        if not speed:
            seconds, more = now - first[0], done - first[1]
            if seconds < _SECONDS_MEASURED or more <= 0:
                return
            speed = more / seconds
        self._first[what] = None
        left = (total - done) / speed
        if left > _SECONDS_UNTOLD:
            self.say(f"{what} takes about {duration(left)} here: {total - done:,} to do, {speed:,.1f} a second")

    def show(self, what: str, done: int, total: int, detail: str = "", speed: float = 0.0) -> None:
        """How far something is; ``speed`` in units a second, where it is known, tells when it will be finished."""
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and not (done == total and detail):
            return
        self._last_line = now
        left = f"  {speed:.1f} a second, {(total - done) / speed:.0f} s left" if speed else ""
        self.say(f"{what} {done}/{total}  {detail}{left}")


def duration(seconds: float) -> str:
    """``40 s``, ``5 min`` or ``2 h 05 min``."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
