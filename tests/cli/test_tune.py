"""fewshot tune: what it prints, and that what it prints can be typed."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import FEW_STROKES, Fewshot
from episodes.datasets.cards import DATASETS
from fewshot.training.recipes import read_table

WORDS = ("tune", "--model", "nca", "--dataset", "strokes", "--recipe", "smoke", "--width", "8", "--budget", "0.5")


def test_trials_the_best_one_and_how_to_train_as_it_did_are_printed(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(DATASETS._entries, "strokes", replace(FEW_STROKES, dataset="toy_classes:NoTest"))
    outcome = fewshot(*WORDS, "--trials", "2")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["0", "1"]
    assert sum(" best " in line for line in lines[:2]) == 1
    found = json.loads(fewshot(*WORDS, "--trials", "2", "--json").out)
    assert Path(found["file"]) == Path("results", "tuning", "strokes_nca.csv")
    best = found["trials"][found["best"]]
    assert best["val_accuracy"] == max(trial["val_accuracy"] for trial in found["trials"])
    assert f"in full     {found['command']}" in lines
    verified = fewshot(*shlex.split(best["command"])[1:], "--json")
    assert json.loads(verified.out)["history"]["val_accuracy"] == best["val_accuracy"]
    entry = tmp_path / "strokes.tuned.toml"
    entry.write_text("\n".join(lines[lines.index("[[entry]]") :]), encoding="utf-8")
    (read,) = read_table(entry).entries
    assert read.log == "tuning/strokes_nca.csv"
    assert {**read.fields, **read.fields["options"]}.items() >= best["parameters"].items()


def test_what_it_has_no_use_for_is_refused(fewshot: Fewshot) -> None:
    assert "unknown option --episodes" in fewshot(*WORDS, "--episodes", "5").error
    assert "untrained is not trained" in fewshot("tune", "--model", "untrained", "--dataset", "strokes").error
    assert not Path("results").exists()
