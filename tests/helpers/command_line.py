"""The command line called in process, and what came of it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from episodes.datasets.cards import DATASETS
from fewshot.cli import run as run_command
from fewshot.cli.main import main
from fewshot.models import hardware
from fewshot.records import record
from fewshot.records.record import RunRecord, read_record

SMOKE = ("run", "--dataset", "strokes", "--recipe", "smoke", "--width", "8", "--episodes", "20", "--query", "5")
"""A run of a second."""


_DRAW_TRAINING = run_command._draw_training

FEW_STROKES = replace(DATASETS.get("strokes"), dataset="toy_classes:FewStrokes")


def use_few_strokes() -> None:
    """For a process of its own."""
    DATASETS._entries["strokes"] = FEW_STROKES


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on standard error of a command that failed."""
        assert self.status == 2
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("fewshot: ")
        return line


class Fewshot:
    """Calls the command line as the console script does, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str | Path) -> Outcome:
        self.capsys.readouterr()
        status: Any = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        captured = self.capsys.readouterr()
        return Outcome(status or 0, captured.out, captured.err)


@contextmanager
def isolated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Fewshot]:
    """The command line in ``folder``, with few strokes, an empty data folder, no network, no picture of trainings."""
    with socket.socket() as closed:  # bound and never listening: a connection is refused at once
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FEWSHOT_OMNIGLOT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("FEWSHOT_DATA", str(folder / "data"))
        monkeypatch.delenv("FEWSHOT_CACHE", raising=False)
        monkeypatch.setitem(DATASETS._entries, "strokes", FEW_STROKES)
        monkeypatch.setattr(record, "CHECKOUT", folder / "no checkout")
        monkeypatch.setattr(run_command, "_draw_training", lambda _: None)  # it takes as long as a training of a test
        monkeypatch.setattr(hardware, "keep_freed_memory", lambda: True)  # it would last beyond the test
        monkeypatch.chdir(folder)
        yield Fewshot(capsys)


def draw_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line draws the course of a training after all."""
    monkeypatch.setattr(run_command, "_draw_training", _DRAW_TRAINING)


def record_in(outcome: Outcome) -> RunRecord:
    """The record whose path a command printed."""
    assert outcome.status == 0, outcome.err
    (path,) = re.findall(r"^record +(.+)$", outcome.out, re.MULTILINE)
    return read_record(Path(path))


def checkpoint_of(record: RunRecord) -> Path:
    return Path(record.trained.checkpoint)
