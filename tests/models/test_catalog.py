"""What `fewshot list` reads from the source files is what is registered; and it is told at once."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import Fewshot
from fewshot.models import catalog
from fewshot.models.encoders.base import ENCODERS
from fewshot.models.methods import METHODS
from fewshot.models.readouts import READOUTS
from records import measured, published

MAIN = """
import sys
from fewshot.cli.main import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""
OF_PYTHON = """
import asyncio, email.mime.multipart, http.client, logging.config, multiprocessing.pool, unittest.mock, xml.dom.minidom
"""


def test_what_the_source_files_say_is_what_is_registered() -> None:
    """And the name is registered under which it is listed."""
    for listed, registry, folder in (
        (catalog.models(), METHODS, "methods"),
        (catalog.encoders(), ENCODERS, "encoders"),
        (catalog.readouts(), READOUTS, "readouts"),
    ):
        assert listed == catalog._registered(folder)
        assert [entry.name for entry in listed] == [*registry]


def test_what_a_method_is_trained_on_is_read_without_it_and_asked_of_one_that_was_registered_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {name: catalog.trains_on(name) for name in METHODS}
    assert {*asked.values()} == {"episodes", "images", "nothing"}
    monkeypatch.setitem(METHODS._entries, "meanwhile", METHODS.get("triplet"))
    assert catalog.trains_on("meanwhile") == "images"
    monkeypatch.delitem(sys.modules, "fewshot.models.methods")
    assert {name: catalog.trains_on(name) for name in asked} == asked
    assert catalog.trains_on("meanwhile") == ""


def test_the_leaderboard_is_printed_without_torch(tmp_path: Path) -> None:
    published(tmp_path, measured("proto"), measured("triplet"))
    words = ["leaderboard", "--results", str(tmp_path), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "triplet" in done.stdout


def processor_seconds(*words: str) -> float:
    """What a Python of its own takes of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(("words", "times"), [(["--help"], 2.5), (["list", "models"], 3.5)])
def test_help_and_lists_are_there_at_once(words: list[str], times: float) -> None:
    """Without torch, in a few times what modules of Python's own take here and now.

    The best of three of each in turn, so that other work does not count.
    """
    found = [(processor_seconds(MAIN, *words), processor_seconds(OF_PYTHON)) for _ in range(3)]
    ours, of_python = map(min, zip(*found, strict=True))
    assert ours < times * of_python


def test_a_list_of_models_reads_their_source_once(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    written = catalog._written

    def noted(folder: str) -> Iterator[catalog.Described]:
        read.append(folder)
        return written(folder)

    monkeypatch.setattr(catalog, "_written", noted)
    assert "relation" in fewshot("list", "models").out
    assert read == ["methods", "losses"]


def test_the_package_can_be_run_where_its_script_is_not_on_the_path() -> None:
    words = [sys.executable, "-m", "fewshot", "list", "models"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "relation" in done.stdout
