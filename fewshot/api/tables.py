"""Records, and the tables made from them, as data frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from fewshot.records.record import RunRecord


def load_records(folder: Path | str | None = None, problems: list[str] | None = None) -> list[RunRecord]:
    """The records in a folder, in the order of their file names; without one the published records.

    Those are in ``results/runs``, or came with the package. Where a list of ``problems`` is given, a file that is no
    record is left out and named there; else it raises RecordError, as it does where there is no such folder.
    """
    from fewshot.records.record import published_runs, read_records
    from fewshot.records.schema import RecordError

    if folder is not None and not Path(folder).exists():
        raise RecordError(f"there is no folder {folder}: `fewshot run` writes records into runs/records")
    return read_records([published_runs(Path("results")) if folder is None else Path(folder)], problems)


def leaderboard(records: Iterable[RunRecord] | None = None, *, smoke: bool = False) -> pd.DataFrame:
    """A row for each configuration on each protocol, ranked where it may be; of the published records by default.

    Accuracies and half widths of 95 % intervals are percentages. What is not ranked says why. ``smoke`` ranks smoke
    tests instead.
    """
    from fewshot.reports.frame import leaderboard_frame

    return leaderboard_frame(load_records() if records is None else records, smoke=smoke)


def compare(*words: str, folder: Path | str | None = None, recipe: str | None = None) -> pd.DataFrame:
    """Methods on the same episodes, pair by pair, a row for each pair and protocol.

    A word is a method among the records of ``folder`` (the published ones by default), ``method+readout``, or the path
    of a record. ``difference``, ``low`` and ``high`` are percentage points, first minus second, with the 95 % interval
    over seeds and episodes; ``p_holm`` is corrected for all pairs of the protocol; ``how_first`` and ``how_second`` say
    by which rule each configuration was chosen. Raises ComparisonError where nothing was measured on the same episodes.
    """
    import pandas as pd

    from fewshot.records.comparison import compare as compared
    from fewshot.records.record import published_runs

    return pd.DataFrame(
        {
            "protocol": found.cell.protocol,
            "first": found.rows[pair.first].name,
            "second": found.rows[pair.second].name,
            "difference": 100 * pair.difference.mean,
            "low": 100 * pair.difference.low,
            "high": 100 * pair.difference.high,
            "wins": pair.difference.wins,
            "ties": pair.difference.ties,
            "losses": pair.difference.losses,
            "effect_size": pair.difference.effect_size,
            "p_holm": pair.p_holm,
            "verdict": pair.verdict,
            "how_first": found.rows[pair.first].how,
            "how_second": found.rows[pair.second].how,
        }
        for found in compared(words, published_runs(Path("results")) if folder is None else Path(folder), recipe)
        for pair in found.pairs
    )


def paper_table(name: str, records: Iterable[RunRecord] | None = None) -> pd.DataFrame:
    """A paper's table, a row for each cell: the printed number, ours and the gap, in percent.

    ``status`` says whether the printed number was read in its own document (verified), in a later one (secondary), or
    in none (recalled). Ours comes from ``records``, by default the published ones. Raises PaperTableError for an
    unknown name.

    >>> table = fs.paper_table("snell2017-table1", records=[])
    >>> table.loc[0, "published"].item()
    98.8
    """
    import pandas as pd

    from fewshot.experiments.paper_plan import fill
    from fewshot.records.paper_tables import paper_table as table_named

    cells = fill(table_named(name), load_records() if records is None else records)
    return pd.DataFrame(
        {
            "row": cell.row.name,
            "way": cell.column.way,
            "shot": cell.column.shot,
            "published": cell.published and cell.published.accuracy,
            "published_ci95": cell.published and cell.published.ci95,
            "status": cell.published and cell.published.status,
            "ours": cell.ours and cell.ours.accuracy,
            "ci95": cell.ours and cell.ours.ci95,
            "gap": cell.gap,
            "verdict": cell.verdict,
        }
        for cell in cells
    )
