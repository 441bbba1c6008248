"""The body of `fewshot report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fewshot.cli.progress import TerminalReporter
from fewshot.records.record import RunRecord, read_records
from fewshot.reports.html.files import write_page, write_plots, write_published
from fewshot.reports.html.gallery import FILE, read_closeups, write_closeups
from fewshot.reports.html.row_names import cells_of


def report_command(
    results: Path,
    out: Path,
    data: Path | None,
    file: Path | None,
    plots: Path | None,
    closeups: bool,
    write: bool,
) -> None:
    """fewshot report."""
    records = read_records([results / "runs"] if write else [results / "runs", out / "records"])
    kept = results / FILE if write or not (out / FILE).is_file() else out / FILE
    if closeups:
        kept = (results if write else out) / FILE
        _look(records, [results / "weights", out / "checkpoints"], data, kept)
    seen = read_closeups(kept)
    if plots is not None:
        with TerminalReporter() as reporter:
            for number, (path, total) in enumerate(write_plots(records, seen, plots), 1):
                reporter.data_progress(f"plots ({path.stem})", number, total)
        click.echo(f"written: {plots} ({total} figures, as SVG and as PNG)")
    if write:
        click.echo(f"written: {write_published(results)}")
    if file is not None or not write:
        click.echo(f"written: {write_page(records, seen, file or out / 'report.html')}")


def _look(records: Sequence[RunRecord], weights: Sequence[Path], data: Path | None, path: Path) -> None:
    from fewshot.reports.html.gallery_episodes import look

    with TerminalReporter() as reporter:
        found = look(cells_of(records), weights, data, reporter)
    click.echo(f"written: {write_closeups(found, path)} ({len(found)} episodes)")
