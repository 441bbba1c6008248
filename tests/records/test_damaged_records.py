"""A record with one wrong value is named in one line, with its file: every field, in both schemas."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewshot.records.record import read_record, record_bytes
from fewshot.records.schema import RecordError

RUNS = Path(__file__).parents[2] / "results" / "runs"
OLD = json.loads(next(path for path in sorted(RUNS.glob("proto_omniglot*")) if "damaged" in path.name).read_text())
NEW = json.loads(record_bytes(read_record(sorted(RUNS.glob("soft-kmeans*"))[0])))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value with the way to it, objects and lists themselves among them."""
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def wrong_values(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [7, ["text"]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ["wrong", 7.5]
    return ["wrong", math.nan, -1 if value != -1 else -2, [value]]


def variants() -> list[Any]:
    found = []
    for schema, whole in enumerate((OLD, NEW), start=1):
        for path, value in leaves(whole):
            if path[-1] == "loss":
                continue  # any number is a loss
            for wrong in wrong_values(value):
                found.append(pytest.param(whole, path, wrong, id=f"{schema}-{'.'.join(map(str, path))}-{wrong!r}"))
    return found


VARIANTS = variants()


def complaint(path: Path) -> str:
    """What is said of a file; empty where it is read."""
    try:
        read_record(path)
    except RecordError as error:
        return str(error)
    return ""


def test_there_are_enough_of_them() -> None:
    assert len(VARIANTS) > 200


def test_each_wrong_value_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    accepted = []
    for variant in VARIANTS:
        whole, place, wrong = variant.values
        damaged = copy.deepcopy(whole)
        inner = damaged
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = wrong
        path.write_text(json.dumps(damaged))
        said = complaint(path)
        if str(path) not in said or "\n" in said:
            accepted.append(f"{variant.id}: {said}")
    assert accepted == []


@pytest.mark.parametrize("whole", [OLD, NEW], ids=["schema 1", "schema 2"])
def test_a_missing_field_is_named(tmp_path: Path, whole: dict[str, Any]) -> None:
    path = tmp_path / "record.json"
    for name in whole:
        if name in ("notes", "readout", "self_supervised", "embeddings"):
            continue  # as usual where it is not said
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        said = complaint(path)
        assert str(path) in said, name
        assert "\n" not in said
