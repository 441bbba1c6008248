"""The page about sweeps shows the figures that were measured; and what a sweep costs beside its runs."""

from __future__ import annotations

import json
from pathlib import Path

from fewshot.bench.sweeps import Canned, rewritten, seconds_a_run
from fewshot.experiments.config import RunConfig
from fewshot.experiments.sweep.executors import InThisProcess
from fewshot.experiments.sweep.jobs import Job
from omniglot_records import of_omniglot

DOCS = Path(__file__).parents[2] / "docs" / "howto"


def test_the_page_shows_the_figures_that_were_measured() -> None:
    page, figures = (DOCS / "sweeps.md").read_text(encoding="utf-8"), json.loads((DOCS / "sweeps.json").read_text())
    assert rewritten(page, figures) == page
    assert "runs: the driver's part of them" in page
    assert figures["planning_seconds"] < 10
    assert figures["ray_seconds_a_run"] < 2


def test_the_driver_takes_less_than_a_fiftieth_of_a_second_for_a_run() -> None:
    jobs = [Job(f"seed {seed}", RunConfig(dataset="strokes", recipe="smoke", seed=seed)) for seed in range(500)]
    canned = Canned((of_omniglot(), Path("there.json")))
    assert seconds_a_run(InThisProcess(), canned, jobs) < 0.02
