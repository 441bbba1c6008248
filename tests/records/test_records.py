from __future__ import annotations

import base64
import json
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.records.record import (
    NORMAL_FORMULA,
    as_stored,
    pack_counts,
    read_record,
    read_records,
    unpack_counts,
    write_record,
)
from fewshot.records.schema import RecordError
from fewshot.statistics.intervals import formula
from full_disk import no_space
from records import COUNTS, a_record, changed, committed

ROOT = Path(__file__).parents[2]


@given(st.lists(st.integers(0, 2**16 - 1), max_size=50))
def test_counts_come_back_as_they_were_packed(counts: list[int]) -> None:
    unpacked = unpack_counts(pack_counts(np.asarray(counts, np.uint16)))
    assert unpacked.tolist() == counts
    assert unpacked.dtype == np.uint16


def test_packed_counts_are_plain_text_of_a_few_kilobytes_and_the_same_on_every_machine() -> None:
    counts = np.random.default_rng(0).binomial(75, 0.98, 10_000).astype(np.uint16)
    packed = pack_counts(counts)
    assert packed.isascii()
    assert len(packed) < 8_000
    content = zlib.decompress(base64.b64decode(pack_counts(np.asarray([1, 256], np.uint16))))
    assert content == b"\x01\x00\x00\x01", "little-endian, whatever the machine is"


def test_a_record_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    record = a_record()
    path = write_record(record, tmp_path / "new" / "record.json")
    assert read_record(path) == record
    assert read_record(path).counts.tolist() == COUNTS.tolist()
    assert record.percent() == "93.60 ± 10.17 %"
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "ä ± 1" in text, "legible, not escaped"
    assert list(json.loads(text)) == sorted([*as_stored(record), "digest"]), (
        "sorted, so that two records can be compared by eye"
    )


def test_the_interval_of_lakes_runs_is_over_their_ten_alphabets() -> None:
    """2.38 points; over 20 runs, as if they were independent, it would be 2.22."""
    (path,) = (ROOT / "results" / "runs").glob("proto_omniglot-lake-28_20w1s_runs_*.json")
    record = read_record(path)
    assert (record.interval.n, record.interval.unit) == (10, "alphabets")
    assert record.percent() == "92.50 ± 2.38 %"
    assert a_record(COUNTS).interval.unit == "episodes"


def test_an_older_record_keeps_its_normal_interval_and_is_printed_with_students_t(tmp_path: Path) -> None:
    """6.5 times as wide for two episodes; a half width that neither formula gives is refused."""
    stored = 1.96 * float(np.std(COUNTS[:2] / 75, ddof=1)) / math.sqrt(2)
    older = a_record(COUNTS[:2], ci95=stored, ci_formula=f"{NORMAL_FORMULA}; s = sample standard deviation")
    assert read_record(write_record(older, tmp_path / "older.json")).ci95 == stored
    assert older.interval.half_width == pytest.approx(stored * 12.7062 / 1.96, rel=1e-4)
    assert older.percent() == "96.67 ± 42.35 %"
    with pytest.raises(RecordError, match="its accuracy and interval are not those of its per-episode counts"):
        read_record(write_record(a_record(COUNTS[:2], ci95=stored), tmp_path / "wrong.json"))


def test_a_record_of_one_episode_has_an_infinite_interval_and_still_comes_back(tmp_path: Path) -> None:
    record = a_record(COUNTS[:1])
    assert record.ci95 == math.inf
    assert read_record(write_record(record, tmp_path / "record.json")) == record


def test_a_schema_that_this_version_does_not_know_is_said(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(as_stored(a_record()) | {"schema": 3}), encoding="utf-8")
    with pytest.raises(RecordError, match=r"record\.json is not .*: its schema is 3: this version reads 1 to 2"):
        read_record(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy": 0.99},
        {"accuracy": math.nan},
        {"ci95": 0.001},
        {"num_episodes": 6},
        {"num_queries": 76},
        {"num_queries": 0},
        {"correct": pack_counts(np.asarray([70, 75, 71, 75, 61], np.uint16))},
        {"correct": pack_counts(np.asarray([66, 80, 70, 75, 60], np.uint16))},
    ],
)
def test_a_record_that_contradicts_its_own_counts_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_record(changed(a_record(), **changes), tmp_path / "record.json")
    with pytest.raises(RecordError, match=r"record\.json (contradicts itself|is not a run record: Expected .* at `\$)"):
        read_record(path)


WHOLE = as_stored(a_record())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '"text"',
        "\udcff",
        json.dumps(WHOLE)[:-20],
        json.dumps({name: value for name, value in WHOLE.items() if name != "correct"}),
        json.dumps(WHOLE | {"correct": "not packed"}),
        json.dumps(WHOLE | {"correct": pack_counts(COUNTS)[:-8]}),
        json.dumps(WHOLE | {"correct": 7}),
        json.dumps(WHOLE | {"accuracy": "high"}),
        json.dumps(WHOLE | {"num_queries": None}),
        json.dumps(WHOLE | {"correct": pack_counts(COUNTS[:0]), "num_episodes": 0}),
    ],
)
def test_what_is_no_record_is_named_in_one_clear_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=r"record\.json is not a run record"):
        read_record(path)


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"there is no record .*absent\.json: `fewshot run` writes one"):
        read_record(tmp_path / "absent.json")


def test_records_are_read_in_the_order_of_their_names_and_an_absent_folder_holds_none(tmp_path: Path) -> None:
    for name, seed in (("b", 2), ("a", 1), ("c", 3)):
        write_record(a_record(seed=seed), tmp_path / f"{name}.json")
    (tmp_path / "README.md").write_text("no record")
    assert [record.seed for record in read_records([tmp_path / "absent", tmp_path])] == [1, 2, 3]


def test_a_full_disk_is_explained_and_leaves_the_former_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_record(a_record(), tmp_path / "record.json")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RecordError, match=r"cannot write .*record\.json: No space left on device"):
        write_record(a_record(seed=4), path)
    assert read_record(path).seed == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_names_its_cell_of_a_published_table() -> None:
    assert a_record().pixels_way_shot == ("omniglot-vinyals-28", 5, 1)


def test_what_a_record_says_is_typed_whatever_its_schema() -> None:
    record = a_record()
    assert (record.test.way, record.test.dataset, record.test.class_split) == (5, "omniglot", "vinyals")
    assert (record.trained.seed, record.trained.recipe.train_way, record.cost.training_seconds) == (3, 60, 1.5)
    for record in committed():
        assert record.test.dataset_id == record.protocol.split("/")[0]
        assert record.num_queries == record.test.way * record.test.query
        assert record.trained.model == record.model
        assert record.trained.dataset_id.partition("-damaged-")[0] == record.test.clean_id


def test_every_committed_record_can_be_read_and_is_no_smoke_test() -> None:
    assert committed()
    for record in committed():
        assert record.recipe != "smoke"
        assert record.ci_formula.startswith((NORMAL_FORMULA, formula(record.unit)))
        assert len(record.episodes_digest) == 64
        assert not record.commit.endswith("+changes"), f"{record.protocol}: code that no commit holds"
