"""Processes that are forked from one that has imported everything: the start of a fresh one takes longer than its test.

It was started afresh itself, so that all of them share nothing with the tests but what they are handed.
"""

from __future__ import annotations

from multiprocessing import get_context

import pytest

FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["killed", "fewshot.cli.run", "fewshot.experiments.run", "fewshot.reports.results"])


def fork_what_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test of what processes do, and not of how they start; they write to another standard error."""
    monkeypatch.setattr("multiprocessing.get_context", {"spawn": FORKED}.__getitem__)
