"""--readout at the command line: one training, many records."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from fewshot.models.readouts import READOUTS
from fewshot.records.record import read_record, record_bytes


def test_a_run_with_one_readout_prints_it(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE, "--readout", "logistic")
    assert record_in(outcome).readout == "logistic"
    assert "read-out    logistic: logistic regression: multinomial" in outcome.out
    assert "read-out" not in fewshot(*SMOKE).out


def test_all_readouts_of_a_run_are_printed_as_a_table_and_written(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE, "--readout", "all")
    assert outcome.status == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines() if line.startswith("strokes-")]
    assert [row[1] for row in rows] == list(READOUTS)
    for row in rows:
        record = read_record(Path(row[-1]))
        assert record.readout == row[1]
        assert " ".join(row[2:-1]) == record.percent()
    assert "SMOKE TEST" in outcome.out


def test_a_checkpoint_is_read_out_in_every_setting_at_once(fewshot: Fewshot) -> None:
    checkpoint = checkpoint_of(record_in(fewshot(*SMOKE)))
    words = ("--way", "3,5", "--shot", "1,2", "--readout", "own,cosine", "--episodes", "10", "--query", "4", "--json")
    outcome = fewshot("evaluate", checkpoint, *words)
    assert outcome.status == 0, outcome.err
    records = json.loads(outcome.out)
    cells = [(record["test"]["way"], record["test"]["shot"], record["readout"]) for record in records]
    assert cells == [(way, shot, name) for way in (3, 5) for shot in (1, 2) for name in ("", "cosine")]
    written = [json.loads(record_bytes(read_record(path))) for path in Path("runs/records").glob("*.json")]
    accuracies = [record.pop("predictions")["per_class"] for record in records]
    assert len({str(of_classes) for of_classes in accuracies}) > 1
    assert all(record.pop("digest") for record in written), "of the files alone"
    assert all(record in written for record in records)


def test_the_list_names_every_readout_with_its_source(fewshot: Fewshot) -> None:
    out = fewshot("list", "readouts").out
    assert all(name in out for name in READOUTS)
    assert "ICLR 2019" in out
