"""Where commands print."""

from __future__ import annotations

import sys

from rich.console import Console


def terminal() -> Console:
    """Standard output; wide where it is no terminal, so that a pipe gets whole lines."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)
