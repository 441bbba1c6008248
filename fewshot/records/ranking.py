"""Which records are held against which: cell by cell and block by block, with ranks, ties and the papers' numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from episodes.datasets.cards import benchmarks
from fewshot.records.protocols import ProtocolName
from fewshot.records.published import COMPARABLE_PIXELS, Published, models_with_targets, published_target, target_of
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
        for model in sorted(models_with_targets() | set(there.get(pixels, {}))):
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
