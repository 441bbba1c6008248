"""How far reading, decoding or downloading has come, and who is told."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; the command line draws it."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of somebody who does not want to see any."""


class Listener:
    """Who is told what happens while a data set is opened. This one says nothing."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def note(self, text: str) -> None:
        """One line for the user that the record keeps, too."""

    def data_progress(self, what: str, done: int, total: int) -> None:
        """Reading, decoding or downloading has come this far."""
