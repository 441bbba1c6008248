"""Signals and streams: one line and the right status in every phase, and nothing half-written left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import SMOKE, Fewshot
from fewshot.cli.progress import TerminalReporter
from killed import begun_without_end
from photo_builders import save_classes
from running_processes import wait_until

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

FEWSHOT = (sys.executable, "-m", "fewshot")
INTERRUPTED_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
module = sys.argv.pop(1)
sys.meta_path.insert(0, Finder())
from fewshot.__main__ import main
main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_a_file_is_written_leaves_nothing_of_it(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    said, results = tmp_path / "said.txt", tmp_path / "results"
    results.mkdir()
    process = begun_without_end(tmp_path)
    wait_until(lambda: said.exists() and said.read_text() == "writing\n")
    assert len([*results.iterdir()]) == 1
    os.kill(process.pid or 0, number)
    process.join(60)
    assert (process.exitcode, said.read_text()) == (status, "writing\nfewshot: stopped\n")
    assert [*results.iterdir()] == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_in_training_saves_the_state_and_the_same_command_goes_on(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    numbers = [number]  # a second one would stop at once

    def stop(*_: object) -> None:
        if numbers:
            signal.raise_signal(numbers.pop())

    with monkeypatch.context() as patch:
        patch.setattr(TerminalReporter, "training_progress", stop)
        outcome = fewshot(*SMOKE)
    assert outcome.status == status
    assert outcome.err.splitlines()[-1].startswith("fewshot: stopped after training episode")
    assert len([*Path("runs/checkpoints").glob("*/state.safetensors")]) == 1
    assert fewshot(*SMOKE).status == 0
    assert [*Path("runs/checkpoints").glob("*/state.safetensors")] == []


@pytest.mark.parametrize(
    "module", ["fewshot.cli.main", "click", "fewshot.cli.run", "rich.console", "fewshot.models.catalog"]
)
def test_ctrl_c_while_the_program_imports_itself_is_one_line(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, module, "list", "models"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "fewshot: stopped\n")


def test_a_stop_that_something_swallows_is_told_all_the_same(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.experiments import run as experiment

    def swallow(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(5)
        except BaseException as stop:  # as libraries do
            raise ImportError("half imported") from stop

    monkeypatch.setattr(experiment, "run_readouts", swallow)
    before = signal.getsignal(signal.SIGTERM)
    outcome = fewshot(*SMOKE)
    assert (outcome.status, outcome.err) == (143, "fewshot: stopped\n")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_closed_standard_output_is_no_traceback() -> None:
    command = f"{' '.join(FEWSHOT)} list readouts >&-"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*FEWSHOT, "list", "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (2, "fewshot: standard output: No space left on device\n")


@pytest.mark.skipif(resource is None, reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (SMOKE, r"cannot write runs/checkpoints/\S+/(state|checkpoint)\.safetensors"),
        (("data", "export", "photos", "--size", "32"), r"MB are needed in \S+/data/cache"),
        (("data", "export", "strokes", "images.npz"), r"cannot write images\.npz"),
        (("show", "strokes", "--picture", "picture.png"), r"picture\.png"),
        (("leaderboard", "--write"), r"results/summary\.md"),
    ],
    ids=str,
)
def test_a_full_disk_is_one_line_that_names_the_file(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], named: str
) -> None:
    save_classes(Path("photos"), {"a": 3, "b": 3})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python would cut what it compiles, and not notice
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))  # no file may grow beyond that
    try:
        outcome = fewshot(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    last = outcome.err.splitlines()[-1]
    assert outcome.status == 2
    assert re.search(rf"^fewshot: .*{named}.*File too large", last), last
    assert [path for path in Path().rglob("*") if ".partial-" in path.name] == []


def test_until_signals_are_heeded_nothing_is_imported_but_two_small_modules() -> None:
    """What a signal meets before is Python's start: the less of ours stands there, the better."""
    code = "import sys; before = {*sys.modules}; import fewshot.__main__; print(sorted({*sys.modules} - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['fewshot', 'fewshot.__main__']"
