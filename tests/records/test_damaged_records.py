"""A record with one wrong value is named in one line, with its file: every field, in both schemas."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewshot.records.record import as_stored, read_record, record_bytes, record_carries_digest, write_record
from fewshot.records.schema import RecordError

RUNS = Path(__file__).parents[2] / "results" / "runs"
OLD = json.loads(next(path for path in sorted(RUNS.glob("proto_omniglot*")) if "damaged" in path.name).read_text())
NEW = as_stored(read_record(sorted(RUNS.glob("soft-kmeans*"))[0]))


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


def test_one_changed_number_is_seen_by_the_digest(tmp_path: Path) -> None:
    path = write_record(read_record(sorted(RUNS.glob("soft-kmeans*"))[0]), tmp_path / "record.json")
    whole = path.read_text()
    assert record_carries_digest(path)
    assert record_bytes(read_record(path)).decode() == whole
    assert '"seed": 0' in whole
    path.write_text(whole.replace('"seed": 0', '"seed": 1'))
    assert re.fullmatch(rf"{path} is not a run record: its content is not that of its digest: .*", complaint(path))
    path.write_text(json.dumps(json.loads(whole)))  # laid out otherwise, the same content
    assert complaint(path) == ""


def test_records_that_are_older_than_digests_are_read() -> None:
    assert not record_carries_digest(sorted(RUNS.glob("soft-kmeans-proto_omniglot*"))[0])


@pytest.mark.parametrize("hidden", ["\x1b[31m", "\\u001b[31m", "\u202e", "\\u202E", "\x9b"])
def test_what_steers_a_terminal_or_turns_text_around_is_refused(tmp_path: Path, hidden: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(NEW, ensure_ascii=False).replace('"command": "', f'"command": "{hidden}', 1))
    assert "characters that steer a terminal or turn text around" in complaint(path)
