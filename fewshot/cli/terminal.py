"""Where commands print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def terminal() -> Console:
    """Standard output; wide where it is no terminal, so that a pipe gets whole lines."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def rich_table(frame: pd.DataFrame, title: str) -> Table:
    """A table of words; the first column to the left, the others, numbers, to the right and never broken."""
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in frame.columns:
        first = column == frame.columns[0]
        table.add_column(column, justify="left" if first else "right", no_wrap=not first)
    for row in frame.itertuples(index=False, name=None):
        table.add_row(*map(Text, row))
    return table
