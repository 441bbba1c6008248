"""Records compared where they can be: on the very same episodes, pair by pair; and over protocols, by rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.records.record import RunRecord, read_record, read_records
from fewshot.records.rows import (
    SETTINGS,
    Cell,
    Entry,
    Setting,
    best_on_val,
    configuration_of,
    entries_by_cell,
    is_ranked,
    setting_of,
)
from fewshot.statistics.paired import PairedDifference, Rank, holm, paired_difference, ranks_with_ties
from fewshot.statistics.ranks import RankTable, rank_table


class ComparisonError(UserError):
    """Records that cannot be compared. The message says what they do not share."""


class NoRecordsError(ComparisonError):
    """The folder in which models are looked for is empty."""


@dataclass(frozen=True)
class Pair:
    """Two entries of a comparison, by place, the better one first."""

    first: int
    second: int
    difference: PairedDifference
    p_holm: float  # corrected for all pairs of the comparison

    @property
    def verdict(self) -> str:
        """Whether the first is surely better, at 5 % over all pairs."""
        return "better" if self.p_holm < 0.05 else "not separable"


@dataclass(frozen=True)
class Compared:
    """An entry of a comparison."""

    name: str  # as the user called it
    how: str  # by which rule it was chosen
    entry: Entry
    rank: Rank


@dataclass(frozen=True)
class Comparison:
    """Entries on the same episodes, best first, and every pair of them."""

    cell: Cell
    rows: tuple[Compared, ...]
    pairs: tuple[Pair, ...]


def compare_entries(cell: Cell, named: Sequence[tuple[str, _Chosen]]) -> Comparison:
    """Compare entries of one cell. Raises ComparisonError for fewer than two, or for a single episode."""
    if len(named) < 2 or cell.num_episodes < 2:
        raise ComparisonError("a comparison needs two records or more, of two episodes or more")
    ordered = sorted(named, key=lambda item: -float(np.mean(item[1].row.accuracies)))
    accuracies = [chosen.row.by_seed for _, chosen in ordered]
    places = list(combinations(range(len(ordered)), 2))
    differences = [paired_difference(accuracies, first, second) for first, second in places]
    corrected = holm([difference.p for difference in differences])
    ranked = zip(ordered, ranks_with_ties(accuracies), strict=True)
    rows = [Compared(name, chosen.how, chosen.row, rank) for (name, chosen), rank in ranked]
    tested = zip(places, differences, corrected, strict=True)
    pairs = [Pair(first, second, difference, float(p)) for (first, second), difference, p in tested]
    return Comparison(cell, tuple(rows), tuple(pairs))


@dataclass(frozen=True)
class _Chosen:
    """A row, and the rule by which it was chosen."""

    row: Entry
    how: str


def compare(
    words: Sequence[str],
    folder: Path,
    recipe: str | None = None,
    setting: Setting | None = None,
    problems: list[str] | None = None,
) -> list[Comparison]:
    """Compare what the words name, on every protocol that all of them were measured on.

    A word is the path of a record, or a model among the records of ``folder``, measured by its own rule, or with a
    read-out where the word is ``model+readout``. Paths of one configuration are its seeds. Models are compared within
    one ``setting``: the first in which all were measured. Of several configurations of a model the one is taken that
    was better on the validation classes, else the latest; the accuracy that is compared decides nothing. Raises
    ComparisonError when nothing was measured on the same episodes.
    """
    paths, models = [word for word in words if is_path(word)], [word for word in words if not is_path(word)]
    published = read_records([folder], problems) if models else []
    named = _rows_of_paths([read_record(Path(path)) for path in paths], taken=models)
    ranked = {word: _ranked(word, published, folder, recipe) for word in dict.fromkeys(models)}
    if len(named) + len(ranked) < 2:
        raise ComparisonError("a comparison needs two records or more: fewshot compare A B [C ...]")
    shared = _setting_of_all(ranked, setting)
    for word, records in ranked.items():
        of_setting = entries_by_cell(record for record in records if setting_of(record) == shared)
        named[word] = {cell: _choose(rows) for cell, rows in of_setting.items()}
    cells = sorted(set.intersection(*(set(rows) for rows in named.values())))
    if not cells:
        raise ComparisonError(_nothing_shared(list(named), [*named.values()]))
    return [compare_entries(cell, [(name, rows[cell]) for name, rows in named.items()]) for cell in cells]


def is_path(word: str) -> bool:
    """Whether a word of `compare` is the path of a record, and no model."""
    return word.endswith(".json") or Path(word).is_file()


def _rows_of_paths(records: Sequence[RunRecord], taken: Sequence[str]) -> dict[str, dict[Cell, _Chosen]]:
    """A row for each configuration, by a name of its own: its model, numbered where two would be called the same.

    A name that is ``taken`` by what was asked for beside the paths says that it is of a file.
    """
    found: dict[bytes, dict[Cell, _Chosen]] = {}
    for cell, rows in entries_by_cell(records).items():
        for row in rows:
            seeds = f"{len(row.seeds)} files of one configuration" if len(row.seeds) > 1 else "the file named"
            found.setdefault(configuration_of(row.first), {})[cell] = _Chosen(row, seeds)
    first = {key: next(iter(rows.values())).row for key, rows in found.items()}
    order = sorted(found, key=lambda key: [record.trained for record in records].index(first[key].first.trained))
    names = [first[key].model + (f"+{first[key].first.readout}" if first[key].first.readout else "") for key in order]
    names = [f"{name} (file)" if name in taken else name for name in names]
    return {
        f"{name} #{place}" if names.count(name) > 1 else name: found[key]
        for place, (name, key) in enumerate(zip(names, order, strict=True), start=1)
    }


def _ranked(word: str, published: Sequence[RunRecord], folder: Path, recipe: str | None) -> list[RunRecord]:
    """The ranked records that a word names."""
    model, _, readout = word.partition("+")
    models = sorted({record.model for record in published})
    if not models:
        raise NoRecordsError(
            f"{folder} holds no records: --from says where `fewshot run` wrote some (runs/records), or give two paths"
        )
    if model not in models:
        raise ComparisonError(f"{unknown_name_message('measured model', model, models)} Or give the path of a record.")
    of_model = [r for r in published if r.model == model and is_ranked(r) and recipe in (None, r.recipe)]
    found = [record for record in of_model if record.readout == readout]
    if not found:
        others = sorted({f"{model}+{record.readout}" for record in of_model if record.readout})
        rule = f"with read-out {readout}" if readout else "by its own rule"
        instead = f"name {' or '.join(others)}" if others else "give the path of a record"
        raise ComparisonError(
            f"{folder} holds no {f'{recipe} ' if recipe else ''}record of {model} {rule} that is ranked: {instead}"
        )
    return found


def _setting_of_all(ranked: Mapping[str, Sequence[RunRecord]], wanted: Setting | None) -> Setting | None:
    """The setting that models are compared in, if any is named. Raises ComparisonError where they share none."""
    if not ranked:
        return None
    of_words = {word: {setting_of(record) for record in records} for word, records in ranked.items()}
    shared = [block for block in SETTINGS if all(block in blocks for blocks in of_words.values())]
    if wanted in shared or (shared and wanted is None):
        return wanted or shared[0]
    said = "; ".join(f"{word}: {', '.join(sorted(blocks))}" for word, blocks in of_words.items())
    raise ComparisonError(f"not all were measured in {f'the setting {wanted}' if wanted else 'one setting'}: {said}")


def _choose(rows: Sequence[Entry]) -> _Chosen:
    """One configuration of several, by what is known before the test."""
    if len(rows) == 1:
        return _Chosen(rows[0], "the only configuration")
    looks = {row.validated_on for row in rows}
    if len(looks) == 1 and None not in looks:
        best = best_on_val(rows)
        return _Chosen(best, f"of {len(rows)} configurations the best on the validation classes")
    latest = max(rows, key=lambda row: max(record.date for record in row.records))
    return _Chosen(latest, f"of {len(rows)} configurations the latest: they share no validation")


def _nothing_shared(words: Sequence[str], found: Sequence[dict[Cell, _Chosen]]) -> str:
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
    names = sorted(row.name for row in comparisons[0].rows)
    means = [{row.name: float(np.mean(row.entry.accuracies)) for row in found.rows} for found in comparisons]
    accuracies = np.asarray([[of_name[name] for name in names] for of_name in means])
    datasets = {found.rows[0].entry.first.test.dataset for found in comparisons}
    return rank_table(names, [found.cell.protocol for found in comparisons], accuracies, len(datasets))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data, accuracies and differences as fractions."""
    return {
        "protocol": comparison.cell.protocol,
        "episodes": comparison.cell.num_episodes,
        "episodes_digest": comparison.cell.digest,
        "entries": [
            {
                "name": row.name,
                "chosen": row.how,
                "setting": setting_of(row.entry.first),
                "label": row.entry.label,
                "accuracy": row.entry.interval.mean,
                "low": row.entry.interval.low,
                "high": row.entry.interval.high,
                "seeds": list(row.entry.seeds),
                "rank_best": row.rank.best,
                "rank_worst": row.rank.worst,
            }
            for row in comparison.rows
        ],
        "pairs": [
            {
                "first": comparison.rows[pair.first].name,
                "second": comparison.rows[pair.second].name,
                **{name: getattr(pair.difference, name) for name in PairedDifference.__dataclass_fields__},
                "p_holm": pair.p_holm,
                "verdict": pair.verdict,
            }
            for pair in comparison.pairs
        ],
    }
