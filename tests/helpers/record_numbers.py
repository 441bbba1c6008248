"""The published number of each committed record, as listed: `python tests/helpers/record_numbers.py` adds new ones.

What is listed it leaves as it is, so that a record which finds another number than before is a failing test.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from fewshot.records.published import target_of
from fewshot.records.record import RunRecord
from records import RUNS, committed

LIST = Path(__file__).parents[1] / "records" / "numbers_of_records.json"
COMMAND = "python tests/helpers/record_numbers.py"


def found_numbers(records: Iterable[tuple[str, RunRecord]]) -> dict[str, str]:
    """The name of each record that is held against a published number, and that number in words."""
    found = {}
    for name, record in records:
        if (number := target_of(record)) is not None:
            cell = f"{number.way}-way {number.shot}-shot"
            found[name] = " | ".join((number.source, number.table, number.variant, cell, str(number.accuracy)))
    return found


def named_records() -> list[tuple[str, RunRecord]]:
    """The committed records by the names of their files."""
    return [(path.stem, record) for path, record in zip(sorted(RUNS.glob("*.json")), committed(), strict=True)]


def listed_numbers(path: Path = LIST) -> dict[str, str]:
    """What the list holds, by record."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {name: number for number, names in kept.items() for name in names}


def complete(found: Mapping[str, str], path: Path = LIST) -> list[str]:
    """Add the records that are not listed; their names."""
    listed = listed_numbers(path)
    by_number = defaultdict(list)
    for name, number in sorted({**found, **listed}.items()):
        by_number[number].append(name)
    path.write_text(json.dumps(dict(sorted(by_number.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return sorted(found.keys() - listed.keys())


if __name__ == "__main__":
    added = complete(found_numbers(named_records()))
    print(*(f"added {name}" for name in added), f"{len(added)} added to {LIST.name}: read the differences", sep="\n")
