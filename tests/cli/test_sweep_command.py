"""`fewshot sweep`: what it prints, what it makes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Fewshot
from fewshot.records.record import read_records

SMALL = ("--dataset", "strokes", "--recipe", "smoke", "--width", "8", "--episodes", "20", "--query", "5")


def test_a_sweep_is_planned_made_and_then_finished(fewshot: Fewshot) -> None:
    words = ("sweep", *SMALL, "--model", "proto,matching", "--way", "5,999", "--seed", "0-1")
    planned = fewshot(*words, "--dry-run")
    assert planned.status == 0, planned.err
    assert "to train  proto 5-way 1-shot, seed 1" in planned.out
    assert "8 runs: 4 to train, 4 refused" in planned.out
    assert "2,400 images pass the encoder in training; time, tests apart: " in planned.out
    assert not Path("runs").exists()
    made = fewshot(*words)
    assert made.status == 1
    assert "matching " in made.out
    assert "4/4 matching 5-way 1-shot, seed 1 " in made.err
    assert made.err.splitlines()[-1] == "fewshot: 4 of 8 failed, all others are there"
    assert "failed: proto 999-way 1-shot, seed 0: 999-way needs 999 classes" in made.err
    records = read_records([Path("runs/records")])
    assert sorted((record.model, record.seed) for record in records) == [
        (model, seed) for model in ("matching", "proto") for seed in (0, 1)
    ]
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}
    again = fewshot("sweep", *SMALL, "--model", "proto,matching", "--seed", "0-1")
    assert again.status == 0, again.err
    assert again.err.splitlines() == ["4 of 4 are finished"]
    assert again.out == made.out
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}
    planned = fewshot(*words, "--dry-run", "--json")
    assert [one["state"] for one in json.loads(planned.out)] == [*["finished"] * 2, *["refused"] * 2] * 2


def test_what_is_asked_for_twice_or_not_at_all_is_refused(fewshot: Fewshot) -> None:
    assert "say which runs" in fewshot("sweep").error
    assert "leave out all but one" in fewshot("sweep", "--table", "snell2017-table1", "--leaderboard", "omniglot").error
    assert "Did you mean --table?" in fewshot("sweep", "--tabel", "snell2017-table1").error
    assert "Did you mean --seed?" in fewshot("sweep", "--seeds", "0-2").error
    assert "there.toml" in fewshot("sweep", "there.toml").err
    assert "Did you mean 'snell2017-table1'?" in fewshot("sweep", "--table", "snell2017-tabel1").error


def test_the_runs_of_a_paper_table_are_planned_without_its_images(fewshot: Fewshot) -> None:
    planned = fewshot("sweep", "--table", "snell2017-table1", "--seed", "0-1", "--dry-run")
    assert planned.status == 0, planned.err
    assert "16 runs" in planned.out
    assert "unknown, the images are not here" in planned.out
