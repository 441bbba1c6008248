"""What a terminal shows: 80 columns and 40, without colors, and one that can do nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from command_line import Fewshot
from fewshot.models.catalog import KINDS, models
from fewshot.records.record import write_record
from pseudo_terminal import in_terminal, without_escapes
from records import measured

COMMANDS = """
import sys
from contextlib import suppress
from fewshot.cli.main import main
for words in sys.argv[1:]:
    with suppress(SystemExit):
        main(words.split())
    print(end="\f", flush=True)
"""
WORDS = ("list models", "list protocols", "compare proto relation nca", "reproduce snell2017-table1", "leaderboard")
NO_COLOR = {"NO_COLOR": "1"}
COLOR = r"\x1b\[[0-9;]*[34]\d"
PROGRESS = """
import sys
from fewshot.cli.progress import TerminalReporter
with TerminalReporter() as reporter:
    for done in (1, 2, 3):
        reporter.data_progress("drawing", done, 3)
        reporter.test_progress("testing", done, int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a few published records."""
    folder = tmp_path_factory.mktemp("terminal")
    records = [
        measured(model, place, shot=shot) for place, model in enumerate(("proto", "relation", "nca")) for shot in (1, 5)
    ]
    for number, record in enumerate(records):
        write_record(record, folder / f"results/runs/{number}.json")
    return folder


def each_in_terminal(words: Sequence[str], columns: int, folder: Path, **settings: str) -> list[str]:
    """What each command wrote into a terminal that they share, and a process: its start takes longer than they do."""
    *written, rest = in_terminal(COMMANDS, *words, columns=columns, folder=folder, settings=settings).split("\f")
    assert (len(written), rest) == (len(words), "")
    return written


@pytest.mark.parametrize("columns", [80, 40])
def test_no_line_is_broken_by_the_terminal_and_no_markdown_is_shown(folder: Path, columns: int) -> None:
    for words, written in zip(WORDS, each_in_terminal(WORDS, columns, folder), strict=True):
        text = without_escapes(written)
        assert "proto" in text or "Prototypical" in text, words
        sentences = [line for line in text.splitlines() if " " in line.strip() and not line.startswith("  fewshot ")]
        assert max(map(len, sentences)) <= columns, words
        assert not re.search(r"\*\*|^#|^\|", text, re.MULTILINE), words


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("0", 160), ("wide", 160)])
def test_in_a_notebook_tables_are_as_wide_as_columns_says(
    folder: Path, fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, columns: str, widest: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as the kernel of a notebook has it
    printed = fewshot("compare", "proto", "relation", "nca", "--results", folder / "results").out
    assert widest // 2 < max(map(len, without_escapes(printed).splitlines())) <= widest


def test_who_wants_no_color_gets_none_and_a_dumb_terminal_no_escape(folder: Path) -> None:
    bars, plain_bars = (in_terminal(PROGRESS, "4", columns=80, folder=folder, settings=said) for said in ({}, NO_COLOR))
    plain = each_in_terminal(WORDS[::2], 80, folder, **NO_COLOR)
    dumb = each_in_terminal(WORDS[::2], 80, folder, TERM="dumb")
    assert re.search(COLOR, bars), "only bars have colors"
    assert not any(re.search(COLOR, written) for written in (plain_bars, *plain))
    assert not any("\x1b" in written for written in dumb)
    assert [*map(without_escapes, plain)] == dumb


def test_a_full_bar_is_gone_and_one_that_was_stopped_stays(folder: Path) -> None:
    """So that a repeated run, which has nothing to do, leaves no bars a second time."""
    for total, stays in (("3", False), ("4", True)):
        frames = in_terminal(PROGRESS, total, columns=80, folder=folder).split("\x1b[2K")
        assert any("drawing" in frame for frame in frames), "it was there"
        assert ("━" in frames[-1]) == stays, frames[-1]


def test_a_dumb_terminal_gets_lines_instead_of_bars(folder: Path) -> None:
    assert "━" not in in_terminal(PROGRESS, "4", columns=80, folder=folder, settings={"TERM": "dumb"})


def test_the_list_of_models_is_grouped_by_kind(fewshot: Fewshot) -> None:
    lines = fewshot("list", "models").out.splitlines()
    places = [lines.index(heading) for heading in KINDS.values()]
    assert places == sorted(places)
    listed = [line.split()[0] for line in lines if line and line[0] != " " and line not in KINDS.values()]
    assert listed == [model.name for kind in KINDS for model in models() if model.kind == kind]
    assert {"proto", "relation"} <= {model.name for model in models() if model.kind == "episodic"}
    assert [model.name for model in models() if model.kind == "self-supervised"] == ["gan", "infonce", "nt-xent"]
