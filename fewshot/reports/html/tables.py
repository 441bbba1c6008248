"""From cells to the tables of the report. A cell of a table carries what it is sorted by beside what it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.reports.charts.scales import duration, signed
from fewshot.reports.html.row_names import GROUPS, Cell, Entry, spoken
from fewshot.reports.html.summary import source_of, verdict
from fewshot.statistics.intervals import spread
from fewshot.statistics.paired import Rank, ranks_with_ties

MEANINGS = {
    "inductive": "each query is classified alone, from labeled support images",
    "self-supervised": "no label was used in training",
    "transductive": "the queries of an episode see each other: not comparable with inductive rows",
    "semi-supervised": "unlabeled images are used: not comparable with inductive rows",
    "external data": "embeddings made elsewhere, from other data than these: not comparable with other rows",
}
_EMPTY = "zzz"  # sorted behind every number


@dataclass(frozen=True)
class Item:
    """What a table shows, what it is sorted by, and how it looks: ``best``, ``good``, ``open``, ``bad`` or plain."""

    text: str
    key: str = ""
    look: str = ""
    note: str = ""

    @property
    def sort_key(self) -> str:
        return self.key or self.text


@dataclass(frozen=True)
class Column:
    """A heading; numbers stand at the right."""

    text: str
    number: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A sortable table; the first column heads its row."""

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Item, ...], ...]


def _number(value: float, text: str, look: str = "", note: str = "") -> Item:
    return Item(text, f"{value:.9g}", look, note)


def _accuracy(entry: Entry, look: str = "", note: str = "") -> Item:
    text = f"{100 * entry.interval.mean:.2f} ± {100 * entry.interval.half_width:.2f}"
    return _number(entry.interval.mean, text, look, note)


def leaderboards(cells: Sequence[Cell]) -> list[Table]:
    """A table for each data set and group; what is not ranked stands apart."""
    boards: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        boards[cell.dataset, cell.rest].append(cell)
    tables = []
    for (dataset, rest), members in boards.items():
        for group in GROUPS:
            for apart in (False, True):
                chosen = [
                    (cell, [entry for entry in cell.entries if (entry.group, bool(entry.apart)) == (group, apart)])
                    for cell in members
                ]
                kept = [(cell, entries) for cell, entries in chosen if entries]
                if kept:
                    title = f"{dataset}, {group}{spoken(rest)}" + (", apart from the ranking" if apart else "")
                    tables.append(_leaderboard(title, f"{MEANINGS[group]}; protocol {rest}", kept, ranked=not apart))
    return tables


def _leaderboard(title: str, caption: str, cells: Sequence[tuple[Cell, list[Entry]]], *, ranked: bool) -> Table:
    rows: dict[str, dict[str, Entry]] = defaultdict(dict)
    ranks: dict[tuple[str, str], Rank] = {}
    for cell, entries in cells:
        places = ranks_with_ties(np.stack([entry.accuracies for entry in entries]))
        for entry, rank in zip(entries, places, strict=True):
            rows[entry.name][cell.key] = entry
            ranks[entry.name, cell.key] = rank
    worst = -1.0  # behind all others where a cell is missing

    def accuracies(name: str) -> list[float]:
        return [rows[name][cell.key].interval.mean if cell.key in rows[name] else worst for cell, _ in cells]

    order = sorted(rows, key=accuracies, reverse=True)
    columns = [Column("model")]
    columns += [Column(cell.shape, True, f"{cell.name}, {cell.num_episodes:,} episodes") for cell, _ in cells]
    columns += [
        Column("encoder"),
        Column("recipe"),
        Column("seeds"),
        Column("params", True, "learned numbers"),
        Column("training", True),
    ]
    lines = []
    for name in order:
        apart = next(iter(rows[name].values())).apart
        line = [Item(f"{name} ({apart})" if apart and "only" not in name else name)]
        for cell, _ in cells:
            found = rows[name].get(cell.key)
            line.append(_score(found, ranks[name, cell.key], ranked=ranked) if found else Item("", _EMPTY))
        entry = next(iter(rows[name].values()))
        seconds = float(np.mean([e.train_seconds for e in rows[name].values()]))
        line += [
            Item(entry.record.config["encoder"]), Item(entry.record.recipe), Item(entry.seeds),
            _number(entry.record.num_parameters, f"{entry.record.num_parameters:,}"),
            _number(seconds, duration(seconds)),
        ]  # fmt: skip
        lines.append(tuple(line))
    return Table(title, caption, tuple(columns), tuple(lines))


def _score(entry: Entry, rank: Rank, *, ranked: bool) -> Item:
    note = f"rank {rank}" if ranked else ""
    return _accuracy(entry, "best" if ranked and rank.best == 1 else "", note)


def beside_the_papers(cells: Sequence[Cell]) -> Table | None:
    """Every number of ours that a paper prints too; None where there is none."""
    rows = []
    for cell in cells:
        for entry in cell.entries:
            paper = entry.published
            if paper is None:
                continue
            found = verdict(entry.interval, paper)
            printed = f"{paper.accuracy:.2f}" + (f" ± {paper.ci95:.2f}" if paper.ci95 is not None else "")
            short = f" ({entry.apart})" if entry.apart else ""
            rows.append(
                (
                    Item(entry.name + short), Item(cell.name),
                    _accuracy(entry),
                    _number(paper.accuracy, printed),
                    _number(found.gap, signed(found.gap)),
                    Item(found.word, look=found.tone),
                    Item(f"{paper.source}, {paper.table}", note=f"{paper.variant}; {paper.backbone}; {paper.protocol}"),
                    Item("read" if paper.status == "verified" else "from memory",
                         look="" if paper.status == "verified" else "open", note=source_of(paper)),
                )
            )  # fmt: skip
    if not rows:
        return None
    columns = (
        Column("model"), Column("setting"), Column("ours, %", True), Column("published, %", True), Column("gap", True),
        Column("verdict"), Column("source"), Column("status", note="read in a document, or recalled from memory"),
    )  # fmt: skip
    caption = (
        "Verdicts by the 95 % intervals over episodes of both; a paper that prints no interval gives no verdict. "
        "“from memory”: the printed number was not checked in a document."
    )
    return Table("Ours beside the papers", caption, columns, tuple(rows))


def spreads(cells: Sequence[Cell]) -> Table:
    """What the mean hides: percentiles and worst decile of the accuracies of single episodes."""
    columns = (
        Column("model"), Column("setting"), Column("mean", True), Column("worst tenth", True),
        Column("5th percentile", True), Column("median", True), Column("95th percentile", True),
        Column("without a mistake", True),
    )  # fmt: skip
    rows = []
    for cell in cells:
        for entry in cell.entries:
            of = spread(entry.accuracies)
            values = (entry.interval.mean, of.worst_decile, of.percentile5, of.median, of.percentile95, of.perfect)
            rows.append(
                (Item(entry.name), Item(cell.name), *(_number(value, f"{100 * value:.1f}") for value in values))
            )
    return Table(
        "Accuracies of single episodes, in %", "Mean over seeds first, where there are several.", columns, tuple(rows)
    )


def provenance(cells: Sequence[Cell]) -> Table:
    """A line for each record: what made the number."""
    columns = (
        Column("model"), Column("protocol"), Column("accuracy, %", True), Column("seed", True), Column("recipe"),
        Column("length", True), Column("training", True), Column("machine"), Column("commit"),
        Column("episodes"), Column("date"),
    )  # fmt: skip
    rows = []
    for cell in cells:
        for entry in cell.entries:
            for record in entry.row.records:
                seconds = record.seconds.get("training", 0.0)
                length = record.config["recipe"].get("train_episodes", 0)
                rows.append(
                    (
                        Item(entry.name), Item(record.protocol),
                        _number(record.accuracy, f"{100 * record.accuracy:.2f} ± {100 * record.ci95:.2f}"),
                        _number(record.seed, str(record.seed)), Item(record.recipe),
                        _number(length, entry.train_length), _number(seconds, duration(seconds)),
                        Item(str(record.machine.get("name", ""))), Item(record.commit[:9], note=record.commit),
                        Item(record.episodes_digest[:9], note=record.episodes_digest),
                        Item(record.date[:10], record.date),
                    )
                )  # fmt: skip
    return Table("Every record", "", columns, tuple(rows))
