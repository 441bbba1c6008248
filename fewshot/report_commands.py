"""The body of `fewshot report`."""

from __future__ import annotations

from pathlib import Path

import click

from fewshot.records import read_records
from fewshot.report.files import check_published, write_page, write_plots, write_published
from fewshot.reporting import TerminalReporter


def report_command(results: Path, out: Path, file: Path | None, plots: Path | None, write: bool, check: bool) -> None:
    """fewshot report."""
    if check:
        check_published(results)
        click.echo(f"{results / 'report.html'} says what the records say")
        return
    records = read_records([results / "runs"] if write else [results / "runs", out / "records"])
    if plots is not None:
        with TerminalReporter() as reporter:
            for number, (path, total) in enumerate(write_plots(records, plots), 1):
                reporter.data_progress(f"plots ({path.stem})", number, total)
        click.echo(f"written: {plots} ({total} figures, as SVG and as PNG)")
    if write:
        click.echo(f"written: {write_published(results)}")
    if file is not None or not write:
        click.echo(f"written: {write_page(records, file or out / 'report.html')}")
