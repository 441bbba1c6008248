"""Where commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from fewshot.experiments.measure import Outcome
    from fewshot.records.record import RunRecord


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


def print_json(content: Any) -> None:
    """Machine-readable output, on standard output alone."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True))


def print_problems(problems: Sequence[str]) -> None:
    """What is no record among many, a line each on standard error: the others are gone on with."""
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)


def readable_records(*folders: Path) -> list[RunRecord]:
    """The records of these folders; what is none is named and left out."""
    from fewshot.records.record import read_records

    problems: list[str] = []
    records = read_records(folders, problems)
    print_problems(problems)
    return records


def print_outcomes(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """One record in full; several as a table. As JSON a record, or a list of them."""
    from fewshot.records.record import as_stored

    if as_json:
        contents = [as_stored(record) for record, _ in outcomes]
        print_json(contents[0] if len(contents) == 1 else contents)
        return
    if len(outcomes) == 1:
        _print_lines(_lines_of(*outcomes[0]))
        return
    record, path = outcomes[0]
    shared = ("model", "interval", "note", "checkpoint", "training", "embeddings")
    _print_lines([line for line in _lines_of(record, path) if line[0] in shared])
    width = max(len(record.protocol) for record, _ in outcomes)
    for record, path in outcomes:
        accuracy = click.style(record.percent(), bold=True)
        click.echo(f"{record.protocol:<{width}}  {record.readout or 'own':<16}  {accuracy}  {path}")


def _lines_of(record: RunRecord, path: Path) -> list[tuple[str, str]]:
    """What is said of one record, as name and text."""
    from fewshot.models.readouts import READOUTS
    from fewshot.records.published import target_of

    target = target_of(record)
    smoke = "  SMOKE TEST, not a result" if record.recipe == "smoke" else ""
    short = "  SHORTENED training" if record.shortened else ""
    return [
        ("model", f"{record.model}, {record.recipe} recipe, seed {record.seed}{smoke}{short}"),
        *([("read-out", f"{record.readout}: {READOUTS.get(record.readout).title}")] if record.readout else []),
        ("protocol", record.protocol),
        ("accuracy", f"{click.style(record.percent(), bold=True)}  over {record.num_episodes:,} episodes"),
        ("published", str(target) if target else "no paper gives a number for this protocol"),
        ("interval", record.ci_formula),
        *(("note", note) for note in record.notes),
        *_files_of(record),
        ("record", str(path)),
    ]


def _files_of(record: RunRecord) -> list[tuple[str, str]]:
    """What the record was measured from."""
    if record.embeddings is not None:
        return [("embeddings", record.embeddings.file)]
    checkpoint = record.trained.checkpoint
    if not checkpoint:  # nothing was learned
        return []
    picture = Path(checkpoint).with_name("training.png")  # not drawn where nothing is trained, nor published
    return [("checkpoint", checkpoint), *([("training", str(picture))] if picture.is_file() else [])]


def _print_lines(lines: Sequence[tuple[str, str]]) -> None:
    for name, text in lines:
        click.echo(f"{name:<11} {text}")
