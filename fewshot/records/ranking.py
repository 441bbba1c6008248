"""Which records are held against which: cell by cell and block by block, with ranks, ties and the papers' numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from episodes.datasets.cards import benchmarks
from fewshot.records.protocols import ProtocolName
from fewshot.records.published import COMPARABLE_PIXELS, PAPER_OF_MODEL, Published, published_target, target_of
from fewshot.records.record import RunRecord
from fewshot.records.rows import BLOCKS, Block, Cell, Entry, block_of, entries_by_cell, is_ranked, why_apart
from fewshot.statistics.paired import Rank, ranks_with_ties

COLUMNS = ((5, 1), (5, 5), (20, 1), (20, 5))
"""Way and shot of the field's tables."""


@dataclass(frozen=True)
class Standing:
    """An entry where it stands: ``rank`` is None where it is not ranked, and ``apart`` says why."""

    cell: Cell
    block: Block
    entry: Entry
    rank: Rank | None
    apart: str = ""

    @property
    def way_shot(self) -> tuple[int, int]:
        """Way and shot of the cell."""
        _, way, shot = self.entry.first.pixels_way_shot
        return way, shot

    @property
    def leads(self) -> bool:
        """Whether nobody is surely better."""
        return self.rank is not None and self.rank.best == 1

    @property
    def target(self) -> Published | None:
        """The paper's number for this model and cell."""
        return target_of(self.entry.first)

    @property
    def gap(self) -> float | None:
        """Ours minus the paper's, in percentage points."""
        return None if self.target is None else 100 * self.entry.interval.mean - self.target.accuracy


def standings(records: Iterable[RunRecord], *, smoke: bool = False) -> list[Standing]:
    """Every entry where it stands: by cell, block and accuracy. Smoke tests are ranked among themselves or left out."""
    kept = [record for record in records if (record.recipe == "smoke") == smoke]
    ranked = [record for record in kept if (smoke and not why_apart(record)) or is_ranked(record)]
    apart = [record for record in kept if why_apart(record)]
    found: list[Standing] = []
    for cell, entries in entries_by_cell(ranked).items():
        for block in BLOCKS:
            members = [entry for entry in entries if block_of(entry.first) == block]
            if members:
                ranks = ranks_with_ties(np.stack([entry.accuracies for entry in members]))
                found += [Standing(cell, block, entry, rank) for entry, rank in zip(members, ranks, strict=True)]
    for cell, entries in entries_by_cell(apart).items():
        found += [Standing(cell, block_of(e.first), e, None, why_apart(e.first)) for e in entries]
    return found


def settings(standing: Standing) -> tuple[str, str, int, int]:
    """What the columns of one table share: pixels, queries with version, episodes, episode seed."""
    cell = standing.cell
    name = ProtocolName.parse(cell.protocol)
    return name.dataset_id, f"{name.episodes}@v{name.version}", cell.num_episodes, cell.episode_seed


def columns_of(chosen: Sequence[Standing]) -> list[tuple[int, int]]:
    """The cells that occur, those of the field's tables first."""
    there = {standing.way_shot for standing in chosen}
    return [column for column in COLUMNS if column in there] + sorted(there - set(COLUMNS))


def best_of_models(chosen: Sequence[Standing]) -> dict[str, dict[tuple[int, int], Standing]]:
    """The most accurate entry of each model on each cell, best models first.

    An entry that a published number can stand beside comes before another read-out that none can.
    """

    def worth(standing: Standing) -> tuple[bool, float]:
        return standing.target is not None, standing.entry.interval.mean

    found: dict[str, dict[tuple[int, int], Standing]] = {}
    for standing in chosen:
        cells = found.setdefault(standing.entry.first.model, {})
        known = cells.get(standing.way_shot)
        if known is None or worth(standing) > worth(known):
            cells[standing.way_shot] = standing
    return sort_rows(found)


def sort_rows(rows: dict[str, dict[tuple[int, int], Standing]]) -> dict[str, dict[tuple[int, int], Standing]]:
    """Complete rows first, then by mean accuracy, then by name."""

    def order(item: tuple[str, dict[tuple[int, int], Standing]]) -> tuple[int, float, str]:
        accuracies = [standing.entry.interval.mean for standing in item[1].values()]
        return -len(accuracies), -float(np.mean(accuracies)), item[0]

    return dict(sorted(rows.items(), key=order))


def missing(found: Sequence[Standing]) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Pixels -> model -> cells of the field's tables without a ranked record, for every model that a paper reports
    there or that was measured on another of these cells."""
    there: dict[str, dict[str, set[tuple[int, int]]]] = {}
    for standing in found:
        if standing.rank is not None:
            of_model = there.setdefault(standing.cell.pixels, {}).setdefault(standing.entry.first.model, set())
            of_model.add(standing.way_shot)
    lacking: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for pixels in COMPARABLE_PIXELS:
        ways = benchmarks()[pixels].ways
        for model in sorted(set(PAPER_OF_MODEL) | set(there.get(pixels, {}))):
            measured = there.get(pixels, {}).get(model, set())
            cells = [
                (way, shot)
                for way, shot in COLUMNS
                if way in ways
                and (way, shot) not in measured
                and (measured or published_target(model, pixels, way, shot) is not None)
            ]
            if cells:
                lacking.setdefault(pixels, {})[model] = cells
    return lacking
