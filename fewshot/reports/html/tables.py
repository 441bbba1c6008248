"""From boards to the tables of the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from fewshot.records.rows import SETTINGS, Setting
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.reports.html.summary import answers_for, source_of, verdict
from fewshot.reports.plots.charts import duration, signed
from fewshot.reports.sortable import Heading, SortableTable, Value, headings, number
from fewshot.statistics.paired import Rank, ranks_with_ties


def _accuracy(row: NamedRow, look: str = "", note: str = "") -> Value:
    return number(row.interval.mean, row.interval.points(), look, note)


def leaderboards(
    boards: Sequence[Board], *, ranked: bool, settings: Iterable[Setting] = tuple(SETTINGS)
) -> list[SortableTable]:
    """A table for each data set and setting: of what is ranked, or of what is not."""
    found: dict[tuple[str, str, Setting], list[tuple[Board, list[NamedRow]]]] = defaultdict(list)
    for board in boards:
        for setting in settings:
            rows = [row for row in board.rows if row.setting == setting and ranked != bool(row.unranked)]
            if rows:
                found[board.dataset, board.details, setting].append((board, rows))
    titles = {key: f"{key[0]}, {key[2]}{key[1]}" + ("" if ranked else ", not ranked") for key in found}
    return [_leaderboard(titles[key], SETTINGS[key[2]], rows, ranked=ranked) for key, rows in found.items()]


def _leaderboard(
    title: str, caption: str, boards: Sequence[tuple[Board, list[NamedRow]]], *, ranked: bool
) -> SortableTable:
    found: dict[str, dict[str, tuple[NamedRow, Rank]]] = defaultdict(dict)
    for board, rows in boards:
        for row, rank in zip(rows, ranks_with_ties([row.by_seed for row in rows]), strict=True):
            found[row.name][board.key] = row, rank

    def accuracies(name: str) -> list[float]:
        return [found[name][board.key][0].interval.mean if board.key in found[name] else -1.0 for board, _ in boards]

    of_boards = (Heading(board.shape, True, f"{board.name}, {board.num_episodes:,} episodes") for board, _ in boards)
    lines = []
    for name in sorted(found, key=accuracies, reverse=True):
        measured = [row for row, _ in found[name].values()]
        first, seconds = measured[0].first, float(np.mean([row.train_seconds or 0.0 for row in measured]))
        reason = measured[0].unranked
        line = [Value(f"{name} ({reason})" if reason and "only" not in name else name)]
        for board, _ in boards:
            if board.key not in found[name]:
                line.append(Value(""))
                continue
            row, rank = found[name][board.key]
            best = "best" if ranked and rank.best == 1 else ""
            line.append(_accuracy(row, best, f"rank {rank}" if ranked else ""))
        seeds = sorted({len(row.seeds) for row in measured})
        line += [
            Value(first.trained.encoder),
            number(seeds[0], "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))),
        ]
        line += [number(first.num_parameters, f"{first.num_parameters:,}"), number(seconds, duration(seconds))]
        lines.append(tuple(line))
    heads = (Heading("model"), *of_boards, *headings("encoder | seeds # | parameters # | training #"))
    return SortableTable(title, caption, heads, tuple(lines), extra=("encoder", "seeds", "parameters", "training"))


def elsewhere(boards: Sequence[Board]) -> SortableTable:
    """The short answer for boards that have no card."""
    rows = []
    for board in boards:
        row = board.ranked[0]
        best, surely, paper, cost = answers_for(board)
        rows.append(
            (
                Value(board.name),
                Value(row.name, note=best.long),
                _accuracy(row),
                Value(surely.short, look=surely.tone, note=surely.long),
                Value(paper.short, look=paper.tone, note=paper.long),
                number(row.train_seconds or 0.0, cost.short),
                number(len(board.ranked), str(len(board.ranked))),
            )
        )
    words = "episodes | best | accuracy, % # | surely better than the next? | as published? | training # | models #"
    return SortableTable(
        "The same questions elsewhere",
        "Ranked models only. On final episodes, those of the comparison on equal terms, nothing was ever chosen. "
        "Press an answer for the sentence behind it.",
        headings(words),
        tuple(rows),
        extra=("training", "models"),
    )


def beside_the_papers(boards: Sequence[Board]) -> SortableTable | None:
    """Every number of ours that was published too; None where there is none."""
    rows = []
    for board in boards:
        for row in board.rows:
            paper = row.published
            if paper is None:
                continue
            found = verdict(row.interval, paper)
            printed, _, spread = paper.printed.partition(" [")
            rows.append(
                (
                    Value(row.name + (f" ({row.unranked})" if row.unranked else "")),
                    Value(board.name),
                    _accuracy(row),
                    number(paper.accuracy, printed, note=spread.rstrip("]")),
                    number(found.gap, signed(found.gap)),
                    Value(found.word, look=found.tone, note=found.sentence),
                    Value(
                        f"{paper.source}, {paper.table}", note=f"{paper.variant}; {paper.backbone}; {paper.protocol}"
                    ),
                    Value(paper.doubt or "checked", note=source_of(paper)),
                )
            )
    if not rows:
        return None
    caption = (
        "Verdicts by the 95 % intervals of both, ours over seeds and test episodes. There is none where the paper "
        "prints no such interval, where its number is not comparable, or was recalled and not checked."
    )
    heads = headings("model | episodes | ours, % # | published, % # | gap # | verdict | source | status")
    extra = ("gap", "source", "status")
    return SortableTable("Ours beside the published numbers", caption, heads, tuple(rows), extra=extra)


def spreads(boards: Sequence[Board]) -> SortableTable:
    """What the mean hides: percentiles and worst tenth of the accuracies of single episodes."""
    rows = []
    for board in boards:
        for row in board.drawn:
            of = row.spread
            values = (row.interval.mean, of.worst_decile, of.percentile5, of.median, of.percentile95, of.perfect)
            numbers = (number(value, f"{100 * value:.1f}") for value in values)
            rows.append((Value(row.name), Value(board.name), *numbers))
    words = "model | episodes | mean # | worst tenth # | 5th percentile # | median # | 95th percentile # | no mistake #"
    caption = "Each training by its method's own rule; the mean over seeds first, where there are several."
    extra = ("5th percentile", "median", "95th percentile", "no mistake")
    return SortableTable("Accuracies of single episodes, in %", caption, headings(words), tuple(rows), extra=extra)


def provenance(boards: Sequence[Board]) -> SortableTable:
    """A line for each record: what made the number."""
    rows = []
    for board in boards:
        for row in board.rows:
            for record in row.records:
                seconds = record.cost.training_seconds
                rows.append(
                    (
                        Value(row.name),
                        Value(record.protocol),
                        number(record.accuracy, record.interval.points()),
                        number(record.seed, str(record.seed)),
                        Value(record.recipe),
                        number(record.trained.recipe.train_episodes, row.length),
                        number(seconds, duration(seconds)),
                        Value(record.hardware.name),
                        Value(record.commit[:9]),
                        Value(record.episodes_digest[:9]),
                        Value(record.date[:16].replace("T", " "), record.date),
                    )
                )
    words = (
        "model | protocol | accuracy, % # | seed # | recipe | length # | training # | machine | commit | digest | date"
    )
    extra = ("recipe", "length", "training", "machine", "commit", "digest")
    return SortableTable("Every record", "", headings(words), tuple(rows), extra=extra)
