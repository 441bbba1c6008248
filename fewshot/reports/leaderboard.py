"""Records -> tables. Every number in README.md and results/leaderboard.* comes through here; none is typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fewshot.records.published import COMPARABLE_PIXELS, Published
from fewshot.records.ranking import Standing, best_of_models, columns_of, missing, settings, sort_rows, standings
from fewshot.records.record import RunRecord
from fewshot.records.rows import BLOCKS, trained_on
from fewshot.records.rows import Block as Kind
from fewshot.reports.documents import Block, Heading, Paragraph, Table, Value, markdown, page, tex
from fewshot.reports.leaderboard_csv import csv_text
from fewshot.reports.pages.base import Content, Page
from fewshot.statistics.intervals import CoveringInterval, spread

_NOTHING = Paragraph("No records yet: `fewshot run` makes one.")
_HOW_TO_READ = Paragraph(
    "Accuracy in percent on the test classes, mean over training seeds. ± is the half width of the 95 % interval over "
    "episodes (closed: these classes; Student's t, or BCa bootstrap where most episodes are perfect); ± classes that "
    "over classes, images and episodes (open); ± seeds that over training seeds. A rank is the span of places that the "
    "paired tests on the same episodes leave open (Holm-corrected, 5 %); bold is whatever nothing is surely better "
    "than. Where a recipe was trained more than once (another shot or length) or read out in several ways, its best is "
    "in the overview and all are in detail. README.md beside this file says more."
)
Rows = dict[str, dict[tuple[int, int], Standing]]


def overview(records: Iterable[RunRecord], *, smoke: bool = False) -> str:
    """The overview tables as Markdown: of all recipes, and what stands apart. Smoke tests only where asked for."""
    found = standings(records, smoke=smoke)
    blocks = [block for chosen in _by_settings(found) for block in _overview(chosen)]
    return markdown([*blocks, *_apart(found)] or [_NOTHING])


def headline(found: Sequence[Standing]) -> str:
    """The short table of README.md as Markdown: the best row of each model, the paper's number behind it.

    A table of one row is left to leaderboard.md, unless its images have no larger one.
    """
    blocks: list[Block] = []
    shown: set[str] = set()
    for chosen in _by_settings(found):
        is_first = chosen[0].cell.pixels not in shown
        shown.add(chosen[0].cell.pixels)
        for block, members in _by_block(chosen):
            rows = best_of_models(members)
            if len(rows) == 1 and not is_first:
                continue
            columns = columns_of(members)
            blocks.append(Paragraph(f"**{_title(members[0])}**; {block}: {BLOCKS[block]}"))
            blocks.append(_cells_table(("model",), {(model,): cells for model, cells in rows.items()}, columns, True))
    return markdown(blocks or [_NOTHING])


def _by_settings(found: Iterable[Standing]) -> list[list[Standing]]:
    groups: dict[tuple[str, str, int, int], list[Standing]] = {}
    for standing in found:
        if standing.rank is not None:
            groups.setdefault(settings(standing), []).append(standing)
    return [groups[key] for key in sorted(groups, key=lambda key: (_place(key[0]), key[0], -len(groups[key]), key))]


def _place(pixels: str) -> int:
    """The papers' own images first, in the order of ``COMPARABLE_PIXELS``."""
    known = list(COMPARABLE_PIXELS)
    return known.index(pixels) if pixels in known else len(known)


def _by_block(chosen: Sequence[Standing]) -> list[tuple[Kind, list[Standing]]]:
    groups = [(block, [standing for standing in chosen if standing.block == block]) for block in BLOCKS]
    return [(block, members) for block, members in groups if members]


def _title(standing: Standing) -> str:
    pixels, queries, episodes, seed = settings(standing)
    return f"{pixels}, {queries}, {episodes:,} episodes a cell (episode seed {seed})"


def _head(way_shot: tuple[int, int]) -> str:
    return f"{way_shot[0]}-way {way_shot[1]}-shot"


def _overview(chosen: Sequence[Standing]) -> list[Block]:
    """A table for each block: a row for each configuration, its cells side by side, each its best."""
    blocks: list[Block] = [Heading(2, _title(chosen[0]))]
    for block, members in _by_block(chosen):
        rows: Rows = {}
        for standing in members:
            model, _, encoder, recipe = _configuration(standing)
            rows.setdefault("\t".join((model, encoder, recipe)), {}).setdefault(standing.way_shot, standing)
        columns = columns_of(members)
        named: dict[tuple[str, ...], dict[tuple[int, int], Standing]] = {}
        for label, cells in sort_rows(rows).items():
            model, encoder, recipe = label.split("\t")
            readouts = dict.fromkeys(_configuration(cells[column])[1] for column in columns if column in cells)
            named[model, ", ".join(readouts), encoder, recipe] = cells
        blocks.append(Paragraph(f"{block.capitalize()}: {BLOCKS[block]}."))
        blocks.append(_cells_table(("model", "readout", "encoder", "recipe"), named, columns, False))
    return blocks


def _configuration(standing: Standing) -> tuple[str, str, str, str]:
    entry = standing.entry
    return entry.model, entry.first.readout or "its own", entry.encoder, entry.training


def _cells_table(
    names: tuple[str, ...],
    rows: dict[tuple[str, ...], dict[tuple[int, int], Standing]],
    columns: Sequence[tuple[int, int]],
    with_paper: bool,
) -> Table:
    heads = tuple(_head(column) for column in columns)
    lines = []
    for label, cells in rows.items():
        values = [_cell(cells[column], with_paper) if column in cells else Value("") for column in columns]
        lines.append((*(Value(text) for text in label), *values))
    return Table((*names, *heads), tuple(lines), frozenset(heads))


def _cell(standing: Standing, with_paper: bool) -> Value:
    text = _accuracy(standing)
    if with_paper:
        text += f" ({standing.target.accuracy:.2f})" if standing.target else ""
    elif standing.rank is not None:
        text += f" ({standing.rank})"
    return Value(text, bold=standing.leads)


def _accuracy(standing: Standing) -> str:
    interval = standing.entry.interval
    return f"{100 * interval.mean:.2f} ± {100 * interval.half_width:.2f}"


_DETAILS = (
    *("rank", "model", "readout", "encoder", "recipe", "accuracy", "± classes", "± seeds", "seeds", "worst decile"),
    *("parameters", "training", "published", "gap"),
)


def _details(chosen: Sequence[Standing]) -> list[Block]:
    """A table for each cell of each block: all that is known of every row."""
    blocks: list[Block] = []
    for block, members in _by_block(chosen):
        for column in columns_of(members):
            lines = []
            for standing in (member for member in members if member.way_shot == column):
                entry = standing.entry
                words = (
                    *(str(standing.rank), *_configuration(standing)[:-1], entry.schedule, _accuracy(standing)),
                    *(_half(entry.over_classes), _half(entry.over_seeds), str(len(entry.seeds))),
                    f"{100 * spread(entry.accuracies).worst_decile:.2f}",
                    *(f"{entry.first.num_parameters:,}", _duration(entry.train_seconds)),
                    *(_published(standing.target), "" if standing.gap is None else f"{standing.gap:+.2f}"),
                )
                lines.append(tuple(Value(w, bold=standing.leads and n == 5) for n, w in enumerate(words)))
            blocks += [Heading(3, f"{chosen[0].cell.pixels} {_head(column)}, {block}"), _detail_table(lines)]
    return blocks


def _detail_table(lines: Sequence[tuple[Value, ...]]) -> Table:
    """Columns that say nothing in any row are left out."""
    kept = [place for place in range(len(_DETAILS)) if any(line[place].text for line in lines)]
    numbers = frozenset(_DETAILS[5:12]) | {"gap"}
    rows = tuple(tuple(line[place] for place in kept) for line in lines)
    return Table(tuple(_DETAILS[place] for place in kept), rows, numbers)


def _half(interval: CoveringInterval | None) -> str:
    return "" if interval is None else f"{100 * interval.half_width:.2f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _published(target: Published | None) -> str:
    if target is None:
        return ""
    interval = f" ± {target.ci95:.2f}" if target.ci95 is not None else ""
    doubt = "" if target.status == "verified" else ", from memory"
    return f"{target.accuracy:.2f}{interval} ({target.source}, {target.table}{doubt})"


def _apart(found: Sequence[Standing]) -> list[Block]:
    """What is not ranked, by reason."""
    blocks: list[Block] = []
    for reason in sorted({standing.apart for standing in found if standing.apart}):
        lines = []
        for standing in (standing for standing in found if standing.apart == reason):
            entry, where = standing.entry, trained_on(standing.entry.first)
            training = entry.schedule + (f", on {where}" if where != standing.cell.pixels else "")
            words = (standing.cell.protocol, *_configuration(standing)[:-1], training)
            lines.append(tuple(Value(text) for text in (*words, _accuracy(standing), str(len(entry.seeds)))))
        columns = ("protocol", "model", "readout", "encoder", "recipe", "accuracy", "seeds")
        blocks += [Heading(2, f"Not ranked: {reason}"), Table(columns, tuple(lines), frozenset(columns[-2:]))]
    return blocks


def _lacking(found: Sequence[Standing]) -> list[Block]:
    lines = [
        (Value(pixels), Value(model), Value(", ".join(_head(cell) for cell in cells)))
        for pixels, models in missing(found).items()
        for model, cells in models.items()
    ]
    heading = Heading(2, "What is missing")
    text = Paragraph("Cells of the papers' tables that have no ranked record here yet.")
    return [heading, text, Table(("images", "model", "cells"), tuple(lines))] if lines else []


def _render(records: Iterable[RunRecord]) -> dict[str, Content]:
    found = standings(records)
    groups = _by_settings(found)
    overview = [block for chosen in groups for block in _overview(chosen)] or [_NOTHING]
    details = [
        block for chosen in groups for block in [Heading(2, f"In detail: {_title(chosen[0])}"), *_details(chosen)]
    ]
    rest = [*_apart(found), *_lacking(found)]
    generated = Paragraph("Generated from the records in `runs/` by `make leaderboard`; do not edit.")
    whole = [Heading(1, "Leaderboard"), generated, _HOW_TO_READ, *overview, *rest, *details]
    return {
        "leaderboard.md": markdown(whole) + "\n",
        "leaderboard.csv": csv_text(found),
        "leaderboard.html": page(whole, "Leaderboard"),
        "leaderboard.tex": tex([generated, *overview]),
    }


PAGE = Page("leaderboard", _render)
