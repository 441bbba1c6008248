"""Which records are held against which: cell by cell and block by block, with ranks, ties and the papers' numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from episodes.datasets.cards import benchmarks
from fewshot.records.protocols import ProtocolName
from fewshot.records.published import COMPARABLE_PIXELS, Published, models_with_targets, published_target, target_of
from fewshot.records.record import RunRecord
from fewshot.records.rows import SETTINGS, Cell, Entry, Setting, entries_by_cell, is_ranked, setting_of, why_not_ranked
from fewshot.statistics.paired import Rank, ranks_with_ties

COLUMNS = ((5, 1), (5, 5), (20, 1), (20, 5))
"""Way and shot of the field's tables."""


@dataclass(frozen=True)
class RankedRow:
    """An entry with its rank, which is None where it is not ranked; ``not_ranked_because`` then says why."""

    cell: Cell
    setting: Setting
    entry: Entry
    rank: Rank | None
    not_ranked_because: str = ""

    @property
    def way_shot(self) -> tuple[int, int]:
        """Way and shot of the cell."""
        _, way, shot = self.entry.first.pixels_way_shot
        return way, shot

    @cached_property
    def target(self) -> Published | None:
        """The paper's number for this model and cell."""
        return target_of(self.entry.first)

    @property
    def gap(self) -> float | None:
        """Ours minus the paper's, in percentage points; None where there is no comparable number."""
        paper = self.target
        return None if paper is None or paper.difference else 100 * self.entry.interval.mean - paper.accuracy


def ranked_rows(records: Iterable[RunRecord], *, smoke: bool = False) -> list[RankedRow]:
    """Every entry by cell, setting and accuracy. Smoke tests are ranked among themselves or left out."""
    kept = [record for record in records if (record.recipe == "smoke") == smoke]
    ranked = [record for record in kept if (smoke and not why_not_ranked(record)) or is_ranked(record)]
    others = [record for record in kept if why_not_ranked(record)]
    found: list[RankedRow] = []
    for cell, entries in entries_by_cell(ranked).items():
        for setting in SETTINGS:
            members = [entry for entry in entries if setting_of(entry.first) == setting]
            if members:
                ranks = ranks_with_ties([entry.by_seed for entry in members])
                found += [RankedRow(cell, setting, entry, rank) for entry, rank in zip(members, ranks, strict=True)]
    for cell, entries in entries_by_cell(others).items():
        found += [RankedRow(cell, setting_of(e.first), e, None, why_not_ranked(e.first)) for e in entries]
    return found


def settings(standing: RankedRow) -> tuple[str, str, int, int]:
    """What the columns of one table share: pixels, queries with version, episodes, episode seed."""
    cell = standing.cell
    name = ProtocolName.parse(cell.protocol)
    return name.dataset_id, f"{name.episodes}@v{name.version}", cell.num_episodes, cell.episode_seed


def missing(found: Sequence[RankedRow]) -> dict[str, dict[str, list[tuple[int, int]]]]:
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
