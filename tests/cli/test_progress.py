"""What is told while something runs: how long it will take, once, as soon as that can be known."""

from __future__ import annotations

import io
import sys

import pytest

from fewshot.cli.progress import SweepReporter, TerminalReporter, is_terminal
from fewshot.progress import LineReporter
from fewshot.training.loop import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as the test sets it."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def lines(capsys: pytest.CaptureFixture[str], word: str) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if word in line]


def test_the_time_that_a_training_takes_is_told_once_at_its_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    for episode in (20, 40, 1000):
        reporter.training_progress(Progress(episode, 1000, 1.0, 4.9, None))
    (line,) = lines(capsys, "takes")
    assert line == "training takes about 3 min here: 980 to do, 4.9 a second"
    reporter.begin("another")
    reporter.training_progress(Progress(20, 1000, 1.0, 9.8, None))
    assert lines(capsys, "takes") == ["[another] training takes about 2 min here: 980 to do, 9.8 a second"]


def test_a_test_is_timed_by_its_first_second(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    reporter = LineReporter()
    for seconds, done in ((0.0, 7), (0.5, 14), (2.0, 27), (3.0, 40)):
        clock[0] = seconds
        reporter.test_progress("testing", done, 10_000)
    assert lines(capsys, "takes") == ["testing takes about 17 min here: 9,973 to do, 10.0 a second"]


def test_what_takes_seconds_is_not_foretold_nor_is_each_run_of_many(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    reporter, sweep = LineReporter(), SweepReporter({"one": 1.0})
    sweep.begin("one")
    for seconds, done in ((0.0, 100), (2.0, 1000)):
        clock[0] = seconds
        reporter.test_progress("embedding", done, 3000)
        sweep.test_progress("testing", done, 1_000_000)
    assert lines(capsys, "takes") == []


@pytest.mark.parametrize("wish", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE"])
def test_a_notebook_that_asks_for_colors_gets_lines_and_no_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    monkeypatch.setenv(wish, "1")
    monkeypatch.setattr("fewshot.progress._SECONDS_BETWEEN_LINES", 0)
    with TerminalReporter() as reporter:
        for done in (1, 50, 100):
            reporter.data_progress("reading", done, 100)
        reporter.say("a path [with] brackets")
    assert [line.strip() for line in capsys.readouterr().err.splitlines()] == [
        "reading 1/100",
        "reading 50/100",
        "reading 100/100",
        "a path [with] brackets",
    ]


def test_a_closed_stream_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)
    assert not is_terminal(None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert is_terminal(sys.stderr)
