"""fewshot report, damage, centers: pages and pictures made from the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from episodes.errors import UserError
from fewshot.cli.options import PATH, Finite, data_option, out_option, refuse_unread, results_option

if TYPE_CHECKING:
    from fewshot.records.record import RunRecord


@click.command(short_help="Make the report: one HTML file with tables and pictures.")
@results_option
@out_option
@data_option
@click.option("--file", type=PATH, help="The page to write [default: OUT/report.html].")
@click.option("--plots", type=PATH, help="Write each figure into this folder too, as SVG, PDF and PNG.")
@click.option("--closeups", is_flag=True, help="Look at single episodes anew: needs weights and images.")
@click.option("--write", is_flag=True, help="Write results/report.html, of the published records alone.")
def report(
    results: Path,
    out: Path,
    data: Path | None,
    file: Path | None,
    plots: Path | None,
    closeups: bool,
    write: bool,
) -> None:
    """Make the report, one HTML file that needs no network: the short answer, tables, pictures.

    It is made from the published records and your own under --out. With --write it is results/report.html, of the
    published records alone: the same records give the same file, byte for byte. Embeddings, maps, confused classes and
    the hardest episodes are drawn from closeups.json, which --closeups makes where weights and images are on this
    machine: of your own images, too, and the page then holds small copies of them.
    """
    from episodes.files import check_writable
    from fewshot.cli.output import all_records
    from fewshot.cli.progress import TerminalReporter
    from fewshot.records.record import read_records
    from fewshot.reports.html.gallery import FILE, read_gallery
    from fewshot.reports.html.page import PAGE, write_page, write_plots

    unread = {"out": write, "data": not closeups}
    refuse_unread(
        "this report: --out is not for --write, --data only for --closeups",
        *(name for name in ("results", "out", "data", "file", "plots", "closeups", "write") if not unread.get(name)),
    )
    records = read_records([results / "runs"]) if write else all_records(results, out)
    page = file or out / PAGE
    for wanted in [results / PAGE] * write + [page] * (file is not None or not write):
        check_writable(wanted)  # not after a minute of drawing
    kept = results / FILE if write or not (out / FILE).is_file() else out / FILE
    if closeups:
        kept = (results if write else out) / FILE
        _look(records, [results / "weights", out / "checkpoints"], data, kept, own=not write)
    seen = read_gallery(kept)
    if plots is not None:
        with TerminalReporter() as reporter:
            for number, (path, total) in enumerate(write_plots(records, seen, plots), 1):
                reporter.data_progress(f"plots ({path.stem})", number, total)
        click.echo(f"written: {plots} ({total} figures, as SVG, PDF and PNG)")
    if write:
        click.echo(f"written: {write_page(records, seen, results / PAGE)}")
    if file is not None or not write:
        click.echo(f"written: {write_page(records, seen, page)}")


def _look(records: Sequence[RunRecord], weights: Sequence[Path], data: Path | None, path: Path, own: bool) -> None:
    from fewshot.cli.progress import TerminalReporter
    from fewshot.reports.html.gallery import write_gallery
    from fewshot.reports.html.gallery_models import look
    from fewshot.reports.html.row_names import boards_of

    with TerminalReporter() as reporter:
        found = look(boards_of(records), weights, data, reporter, own=own)
    click.echo(f"written: {write_gallery(found, path)} (episodes: {len(found.episodes)}, maps: {len(found.maps)})")


@click.command(short_help="Accuracy against the share of damaged images.")
@results_option
@click.option("--picture", type=PATH, help="Draw the curves into this file (.svg, .pdf or .png).")
@out_option
def damage(results: Path, picture: Path | None, out: Path) -> None:
    """Print accuracy against the share of damaged test images, of all trainings with `run --damage` (Fort 2017).

    Train with `fewshot run --damage 0.75 --way 20 --shot 1`, once with `--model proto`, once with `--model
    gaussian-proto`; test each with `fewshot evaluate CHECKPOINT --way 20 --shot 5 --damage SHARE`.
    """
    from fewshot.cli.output import all_records, print_sections
    from fewshot.reports.pages.corruption import corruption_curves, corruption_tables, draw

    curves = corruption_curves(all_records(results, out))
    if not curves:
        raise UserError("no training on corrupted images yet: `fewshot run --model proto --damage 0.75` makes one")
    print_sections(corruption_tables(curves))
    if picture:
        from fewshot.reports.plots.style import save

        click.echo(f"\ndrawn: {save(draw(curves), picture)}")


@click.command(short_help="What the weight of the center loss does, as a picture.")
@click.argument("weights", nargs=-1, type=Finite(0), metavar="[LAMBDA]...")
@click.option("--dataset", default="omniglot", show_default=True, help="Where the classes come from.")
@click.option("--classes", type=click.IntRange(2), default=10, show_default=True, help="How many of them.")
@click.option("--steps", type=click.IntRange(10), default=400, show_default=True, help="Training batches for each.")
@click.option(
    "--picture",
    type=PATH,
    default=Path("centers.png"),
    show_default=True,
    help="The file to draw (.svg, .pdf or .png).",
)
@data_option
def centers(
    dataset: str, weights: tuple[float, ...], classes: int, steps: int, picture: Path, data: Path | None
) -> None:
    """Train embeddings of two numbers with cross-entropy and center loss, once for each LAMBDA, and draw them.

    Without any: 0, 0.01, 0.1 and 1. The larger, the nearer to its center lies each class.
    """
    from episodes.datasets.opening import open_dataset
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.center_loss_demo import few_classes, train_plane
    from fewshot.models.hardware import keep_freed_memory
    from fewshot.reports.plots.center_loss import center_loss_figure
    from fewshot.reports.plots.style import save

    keep_freed_memory()
    with TerminalReporter() as reporter:
        image_set = open_dataset(dataset, data, None, reporter=reporter).load("train", reporter.data_progress)
        chosen = few_classes(image_set, classes)
        planes = [train_plane(chosen, weight, steps, reporter) for weight in weights or (0.0, 0.01, 0.1, 1.0)]
    for plane in planes:
        click.echo(f"lambda {plane.weight:<8g} mean squared length of the embeddings {plane.spread:.3f}")
    click.echo(f"drawn: {save(center_loss_figure(planes, chosen), picture)}")
