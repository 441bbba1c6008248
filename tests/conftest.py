from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import shape_checks

if TYPE_CHECKING:
    from command_line import Fewshot

if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shapes and types of every call are held to the annotations: here and not in production, where that would cost time.
# Before the first import of our packages, because it rewrites them while they are imported.
if "WITHOUT_TYPE_CHECKS" not in os.environ:  # for long runs of what is random
    shape_checks.install("episodes", "fewshot")

# What is imported and collected stays until the end: a search for garbage would go through all of it in vain, a hundred
# thousands of objects at a time. What the tests make is searched as ever.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, what takes long begins first: at the end no process waits long for another."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in long)


# Property tests: few examples and the same ones at every run, however slow the machine is.
hypothesis.settings.register_profile("fast", max_examples=25, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("fast")


# pytest-xdist tells its workers of a terminal of 80 columns: commands that tests start would write lines as short.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)

# A shell tells what runs in the background to ignore Ctrl-C, and nohup a lost terminal: the commands that tests start
# and interrupt would inherit that.
for _signal, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, _handler)


@pytest.fixture(scope="session")
def real_data_root() -> Path:
    """The folder with the real images; the test is skipped, and says why, where there is none."""
    chosen = os.environ.get("FEWSHOT_DATA")
    if not chosen:
        pytest.skip("needs the real images: set FEWSHOT_DATA to the folder that holds omniglot-py/ and miniimagenet/")
    root = Path(chosen)
    if not (root / "omniglot-py").is_dir() or not (root / "miniimagenet").is_dir():
        pytest.skip(f"FEWSHOT_DATA={root} does not hold both omniglot-py/ and miniimagenet/")
    return root


@pytest.fixture
def cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded images are kept in a folder of the test's own."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fewshot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fewshot]:
    """The command line in an empty folder, with few strokes, an empty data folder and no network."""
    from command_line import isolated

    with isolated(capsys, monkeypatch, tmp_path) as command_line:
        yield command_line
