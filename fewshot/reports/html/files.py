"""The report on disk: the page, and single plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.records.record import RunRecord, read_records
from fewshot.reports.html.gallery import FILE, Closeup, read_closeups
from fewshot.reports.html.page import all_figures, render

PAGE = "report.html"


def write_page(records: Sequence[RunRecord], closeups: Sequence[Closeup], path: Path) -> Path:
    """Write the page of these records and closeups; its path. Raises UserError where it cannot be written."""
    try:
        write_atomically(path, render(records, closeups).encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --file") from error
    return path


def write_published(results: Path) -> Path:
    """Write results/report.html from results/runs and results/closeups.json alone; its path."""
    return write_page(read_records([results / "runs"]), read_closeups(results / FILE), results / PAGE)


def write_plots(records: Sequence[RunRecord], closeups: Sequence[Closeup], folder: Path) -> Iterator[tuple[Path, int]]:
    """Write every figure into ``folder`` as SVG and as PNG; after each figure its PNG, and how many there are."""
    from fewshot.reports.charts.raster import write_png

    figures = all_figures(records, closeups)
    if not figures:
        raise UserError("there is nothing to plot: no records were found (`fewshot run` makes one)")
    for figure in figures:
        canvas = figure.whole
        write_atomically(folder / f"{figure.key}.svg", canvas.svg_file().encode())
        yield write_png(canvas, folder / f"{figure.key}.png"), len(figures)
