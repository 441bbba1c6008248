"""What `fewshot list` reads from the source files is what is registered; and it is told at once."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from fewshot.models import catalog
from fewshot.models.encoders.base import ENCODERS
from fewshot.models.methods import METHODS
from fewshot.models.readouts import READOUTS

MAIN = """
import sys
from fewshot.cli.main import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
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
