"""Tables for a paper, in LaTeX: booktabs, columns of siunitx, plain names, in bold what no test puts below the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from fewshot.records.comparison import Comparison
from fewshot.records.paper_tables import PaperTable
from fewshot.records.rows import Entry, cell_of
from fewshot.reports.names import images_name, method_and_readout, shape_name
from fewshot.reports.rendering import Bold, Section, render, table_of
from fewshot.statistics.paired import ranks_with_ties

if TYPE_CHECKING:  # at run time it would load PyTorch, which no table needs
    from fewshot.experiments.paper_plan import PaperCell

ACCURACY = "Accuracy in % with its 95 % interval"
BEST = "bold: not surely below the best (paired test on the same episodes, Holm, 5 %)"


def latex(sections: Sequence[Section]) -> str:
    """A floating table for each section; its heading is the caption. Every column of ``numbers`` is one of siunitx."""
    return render("tables.tex", sections=sections)


def comparison_sections(comparisons: Sequence[Comparison]) -> list[Section]:
    """Accuracies, a column for each protocol, and the differences of the pairs."""
    accuracies: dict[str, dict[str, str]] = {}
    differences: dict[str, dict[str, str]] = {}
    heads = _heads(comparisons)
    for head, found in zip(heads, comparisons, strict=True):
        names = [method_and_readout(row.entry.first.model, row.entry.first.readout) for row in found.rows]
        if len(set(names)) < len(names):
            names = [row.name for row in found.rows]
        for name, row in zip(names, found.rows, strict=True):
            bold = Bold if row.rank.best == 1 else str
            accuracies.setdefault(name, {})[head] = bold(row.entry.interval.points())
        for pair in found.pairs:
            first, second = sorted((pair.first, pair.second), key=lambda place: found.rows[place].name)
            sign = 1 if first == pair.first else -1
            half_width = 50 * (pair.difference.high - pair.difference.low)
            difference = f"{100 * sign * pair.difference.mean:+.2f} ± {half_width:.2f}"
            bold = Bold if pair.p_holm < 0.05 else str
            differences.setdefault(f"{names[first]} − {names[second]}", {})[head] = bold(difference)
    numbers = frozenset(heads)
    told = "Differences in percentage points with their 95 % interval; bold: separated (paired test, Holm, 5 %)."
    return [
        Section(f"{ACCURACY}; {BEST}.", table=_table("Method", accuracies), numbers=numbers),
        Section(told, table=_table("Pair", differences), numbers=numbers),
    ]


def reproduction_sections(table: PaperTable, cells: Sequence[PaperCell]) -> list[Section]:
    """A paper's table with ours beside each number."""
    rows: dict[str, dict[str, str]] = {}
    for column in table.columns:
        found = [cell for cell in cells if cell.column == column]
        best = _best_of(found)
        for cell in found:
            published = "" if cell.published is None else f"{cell.published.accuracy:.2f}"
            ours = "" if cell.ours is None else f"{cell.ours.accuracy:.2f} ± {cell.ours.ci95:.2f}"
            bold = Bold if cell in best else str
            words = {f"{column.title}, published": published, f"{column.title}, ours": bold(ours)}
            rows[cell.row.name] = rows.get(cell.row.name, {}) | words
    frame = _table("Method", rows)
    told = f"{table.title}: the numbers of {table.source}, and ours. {ACCURACY}; {BEST}."
    return [Section(told, table=frame, numbers=frozenset(frame.columns[1:]))]


def _best_of(cells: Sequence[PaperCell]) -> list[PaperCell]:
    """The cells of a column that no test puts below the best; none where they are not of the same episodes."""
    filled = [(cell, Entry(cell.ours.records)) for cell in cells if cell.ours is not None]
    if len({cell_of(row.first) for _, row in filled}) != 1:
        return []
    filled.sort(key=lambda item: -item[1].interval.mean)
    ranks = ranks_with_ties([row.by_seed for _, row in filled])
    return [cell for (cell, _), rank in zip(filled, ranks, strict=True) if rank.best == 1]


def _heads(comparisons: Sequence[Comparison]) -> list[str]:
    """``Omniglot, 5-way 1-shot``; the protocol's own name where two would be called the same."""
    tests = [found.rows[0].entry.first.test for found in comparisons]
    heads = [f"{images_name(test.clean_id)}, {shape_name(test.way, test.shot)}" for test in tests]
    return heads if len(set(heads)) == len(heads) else [found.cell.protocol for found in comparisons]


def _table(first: str, rows: dict[str, dict[str, str]]) -> pd.DataFrame:
    return table_of({first: name, **words} for name, words in rows.items()).fillna("")
