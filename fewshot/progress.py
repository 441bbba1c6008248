"""Reporter: who is told how far a run is, and keeps the notes that go into its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from episodes.progress import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewshot.training.loop import Progress as TrainingProgress


class Reporter(Listener):
    """Silent: what a program gets that calls the package. ``notes`` go into the record."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.observers: list[Callable[[TrainingProgress], None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def test_progress(self, what: str, done: int, total: int) -> None:
        """Embedding or testing has come this far."""

    def training_progress(self, progress: TrainingProgress) -> None:
        """Training has come this far."""
        for observe in self.observers:
            observe(progress)
