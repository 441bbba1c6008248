"""A bench small enough for tests: a few random pixels, and no process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from episodes.spec import EpisodeSpec
from fewshot.bench import basics as bench
from fewshot.bench import libraries as contenders
from fewshot.bench import loop as bench_loop
from fewshot.bench import methods as bench_models
from fewshot.bench import suite as bench_suite

TINY = bench.Workload(
    "omniglot 3w1s1q", "omniglot", EpisodeSpec(3, 1, 1), EpisodeSpec(3, 1, 2), (1, 28, 28), stand_in=(8, 14)
)


def called_here(function: Callable[..., Any], *given: Any) -> Any:
    """What `in_a_process` does, in this one."""
    return function(*given)


def shrink(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """One tiny setting, no images but random ones, three repetitions."""
    monkeypatch.setenv("FEWSHOT_DATA", str(folder))
    for module in (bench, bench_suite, bench_models, contenders, bench_loop):
        monkeypatch.setattr(module, "SETTINGS", (TINY,))
        monkeypatch.setattr(module, "in_a_process", called_here)
    for module in (bench_models, bench_loop, contenders):
        monkeypatch.setattr(module, "keep_freed_memory", lambda: True)  # it would last beyond the test
    monkeypatch.setattr(contenders, "TEST_EPISODES", 20)
    monkeypatch.setattr(contenders, "_QUICK", (2, 0.0))
    monkeypatch.setattr(bench_loop, "_QUICK", (0.0, 1))
    monkeypatch.setattr(bench_loop, "_EMBEDDED", 8)
