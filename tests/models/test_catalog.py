"""What `fewshot list` reads from the source files is what is registered; and it is told at once."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from fewshot.models import catalog
from fewshot.models.catalog import Described
from fewshot.models.encoders.base import ENCODERS
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of
from fewshot.models.readouts import READOUTS

MAIN = """
import sys
from fewshot.cli.main import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""


def described(entry: type, options_from: type, unavailable: str = "") -> tuple[str, str, tuple[str, ...], str]:
    options = tuple(map(str, options_of(options_from).values()))
    return getattr(entry, "title", ""), getattr(entry, "source", ""), options, unavailable


def read(found: list[Described]) -> dict[str, tuple[str, str, tuple[str, ...], str]]:
    return {entry.name: (entry.title, entry.source, entry.options, entry.unavailable) for entry in found}


def test_models_are_listed_as_they_are_registered() -> None:
    entries = {name: METHODS.get(name) for name in METHODS}
    assert read(catalog.models()) == {
        name: described(entry, entry, entry.unavailable()) for name, entry in entries.items()
    }
    assert [entry.name for entry in catalog.models()] == [*METHODS]


def test_encoders_and_readouts_are_listed_as_they_are_registered() -> None:
    assert read(catalog.encoders()) == {name: described(ENCODERS.get(name), ENCODERS.get(name)) for name in ENCODERS}
    found = {entry.name: (entry.title, entry.source) for entry in catalog.readouts()}
    assert found == {name: (READOUTS.get(name).title, READOUTS.get(name).source) for name in READOUTS}


def test_what_learn2learn_lacks_is_said_of_the_models_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "learn2learn" else object())
    unavailable = {entry.name for entry in catalog.models() if "learn2learn not installed" in entry.unavailable}
    assert unavailable == {"maml", "anil"}


@pytest.mark.parametrize(("words", "seconds"), [(["--help"], 0.3), (["list", "models"], 0.5)])
def test_help_and_lists_are_there_at_once(words: list[str], seconds: float) -> None:
    """Without torch. The time is the processor's, the best of three, so that other work does not count."""
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert best < seconds


def test_the_package_can_be_run_where_its_script_is_not_on_the_path() -> None:
    words = [sys.executable, "-m", "fewshot", "list", "models"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "relation" in done.stdout
