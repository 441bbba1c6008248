"""Records compared where they can be: on the very same episodes, pair by pair; and over protocols, by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.records.record import RunRecord, read_record, read_records
from fewshot.records.rows import Cell, Entry, entries_by_cell, is_ranked
from fewshot.statistics.paired import PairedDifference, Rank, holm, paired_difference, ranks_with_ties
from fewshot.statistics.ranks import RankTable, rank_table


class ComparisonError(UserError):
    """Records that cannot be compared. The message says what they do not share."""


@dataclass(frozen=True)
class Pair:
    """Two entries of a comparison, by place, the better one first."""

    first: int
    second: int
    difference: PairedDifference
    p_holm: float  # of the paired t test, corrected for all pairs of the comparison

    @property
    def verdict(self) -> str:
        """Whether the first is surely better, at 5 % over all pairs."""
        return "better" if self.p_holm < 0.05 else "not separable"


@dataclass(frozen=True)
class Comparison:
    """Entries on the same episodes, best first, and every pair of them."""

    cell: Cell
    names: tuple[str, ...]  # as the user called them
    entries: tuple[Entry, ...]
    ranks: tuple[Rank, ...]
    pairs: tuple[Pair, ...]


def compare_entries(cell: Cell, named: Sequence[tuple[str, Entry]]) -> Comparison:
    """Compare entries of one cell. Raises ComparisonError for fewer than two, or for a single episode."""
    if len(named) < 2 or cell.num_episodes < 2:
        raise ComparisonError("a comparison needs two records or more, of two episodes or more")
    ordered = sorted(named, key=lambda item: -float(np.mean(item[1].accuracies)))
    accuracies = [entry.accuracies for _, entry in ordered]
    places = list(combinations(range(len(ordered)), 2))
    differences = [paired_difference(accuracies[first], accuracies[second]) for first, second in places]
    corrected = holm([difference.p for difference in differences])
    return Comparison(
        cell,
        tuple(name for name, _ in ordered),
        tuple(entry for _, entry in ordered),
        tuple(ranks_with_ties(np.stack(accuracies))),
        tuple(
            Pair(first, second, difference, float(p))
            for (first, second), difference, p in zip(places, differences, corrected, strict=True)
        ),
    )


def compare(words: Sequence[str], results: Path, recipe: str | None = None) -> list[Comparison]:
    """Compare what the words name, on every protocol that all of them were measured on.

    A word is the path of a record, or the name of a model in ``results/runs``: there it stands for its ranked entries
    (of ``recipe``, where given), and where it has several on a cell, for the most accurate one. Raises ComparisonError
    when nothing was measured on the same episodes.
    """
    if len(words) < 2:
        raise ComparisonError("a comparison needs two records or more: fewshot compare A B [C ...]")
    published = read_records([results / "runs"])
    found = [_found(word, published, results, recipe) for word in words]
    shared = sorted(set.intersection(*(set(entries) for entries in found)))
    if not shared:
        raise ComparisonError(_nothing_shared(words, found))
    names = _names(words, [entries[shared[0]] for entries in found])
    return [
        compare_entries(cell, [(name, entries[cell]) for name, entries in zip(names, found, strict=True)])
        for cell in shared
    ]


def _names(words: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """Words as they are, paths by their model; numbered where two would be called the same."""
    names = [entry.model if _is_path(word) else word for word, entry in zip(words, entries, strict=True)]
    return [f"{name} #{place}" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def _is_path(word: str) -> bool:
    return word.endswith(".json") or Path(word).is_file()


def _found(word: str, published: Sequence[RunRecord], results: Path, recipe: str | None) -> dict[Cell, Entry]:
    if _is_path(word):
        return {cell: entries[0] for cell, entries in entries_by_cell([read_record(Path(word))]).items()}
    models = sorted({record.model for record in published})
    if word not in models:
        if not models:
            raise ComparisonError(f"{results / 'runs'} holds no records: give the paths of two records")
        raise ComparisonError(f"{unknown_name_message('measured model', word, models)} Or give the path of a record.")
    chosen = [
        record for record in published if record.model == word and is_ranked(record) and recipe in (None, record.recipe)
    ]
    if not chosen:
        raise ComparisonError(
            f"{results / 'runs'} holds no {f'{recipe} ' if recipe else ''}record of {word} that is ranked: "
            "give the path of a record"
        )
    return {cell: entries[0] for cell, entries in entries_by_cell(chosen).items()}


def _nothing_shared(words: Sequence[str], found: Sequence[dict[Cell, Entry]]) -> str:
    names = [{cell.protocol for cell in entries} for entries in found]
    common = sorted(set.intersection(*names))
    if common:
        return (
            f"the records share the protocol {common[0]} but not its episodes (another seed, number or pixels): "
            "evaluate them on the same episodes first"
        )
    on = "; ".join(f"{word} on {', '.join(sorted(of_word))}" for word, of_word in zip(words, names, strict=True))
    return f"nothing was measured on the same episodes: {on}"


def ranks_over_protocols(comparisons: Sequence[Comparison]) -> RankTable:
    """The rank table of the entries that all comparisons share, by the user's names."""
    names = sorted(comparisons[0].names)
    accuracies = np.asarray(
        [
            [float(np.mean(dict(zip(found.names, found.entries, strict=True))[name].accuracies)) for name in names]
            for found in comparisons
        ]
    )
    datasets = {found.entries[0].first.test.dataset for found in comparisons}
    return rank_table(names, [found.cell.protocol for found in comparisons], accuracies, len(datasets))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data, accuracies and differences as fractions."""
    return {
        "protocol": comparison.cell.protocol,
        "episodes": comparison.cell.num_episodes,
        "episodes_digest": comparison.cell.digest,
        "entries": [
            {
                "name": name,
                "label": entry.label,
                "accuracy": entry.interval.mean,
                "low": entry.interval.low,
                "high": entry.interval.high,
                "seeds": list(entry.seeds),
                "rank_best": rank.best,
                "rank_worst": rank.worst,
            }
            for name, entry, rank in zip(comparison.names, comparison.entries, comparison.ranks, strict=True)
        ],
        "pairs": [
            {
                "first": comparison.names[pair.first],
                "second": comparison.names[pair.second],
                **{name: getattr(pair.difference, name) for name in PairedDifference.__dataclass_fields__},
                "p_holm": pair.p_holm,
                "verdict": pair.verdict,
            }
            for pair in comparison.pairs
        ],
    }
