"""What a sweep costs beside its trainings: ``python -m fewshot.bench.sweeps`` measures, writes docs/howto/sweeps.json.

docs/howto/sweeps.md shows these figures; ``rewritten`` puts them there.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fewshot.experiments.measure import Outcome
from fewshot.experiments.sweep.executors import Engine, InThisProcess, Processes
from fewshot.experiments.sweep.jobs import Chain, Job, Place, Result
from fewshot.experiments.sweep.loop import sweep
from fewshot.experiments.sweep.plan import jobs_of
from fewshot.experiments.sweep.ray_cluster import RayCluster
from fewshot.experiments.sweep.survey import survey
from fewshot.models.hardware import choose_device, describe_machine
from fewshot.records.record import read_record

DOCS = Path("docs/howto")
RESULTS = Path("results")
_BETWEEN = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- figures end -->)", re.DOTALL)


class Canned:
    """A run that is over at once: the record of another one."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def __call__(self, chain: Chain) -> list[Result]:
        return [[self.outcome] for _ in chain]


def measured() -> dict[str, Any]:
    """The figures, with the machine."""
    start = time.process_time()
    choices = {"dataset": "strokes", "recipe": "smoke", "model": ["proto", "matching"], "way": [5, 20], "shot": [1, 5]}
    jobs = jobs_of([choices | {"seed": "0-1249"}])
    with tempfile.TemporaryDirectory() as out:
        survey(jobs, Place(Path(out)), [])
    planning = time.process_time() - start
    record = min((RESULTS / "runs").glob("proto_*5w1s*.json"))
    canned = Canned((read_record(record), record))
    weights = [path.stat().st_size for path in (RESULTS / "weights").glob("proto-*")]
    return {
        "machine": describe_machine(choose_device()),
        "planned": len(jobs),
        "planning_seconds": round(planning, 1),
        "driver_runs_per_second": round(1 / seconds_a_run(InThisProcess(), canned, jobs)),
        "processes_runs_per_second": round(1 / seconds_a_run(Processes(1), canned, jobs[:1000])),
        "ray_seconds_a_run": round(seconds_a_run(RayCluster(), canned, jobs[:100]), 3),
        "record_bytes": round(statistics.median(path.stat().st_size for path in (RESULTS / "runs").glob("*.json"))),
        "weights_bytes": round(statistics.median(weights)),
    }


def seconds_a_run(engine: Engine, perform: Callable[[Chain], list[Result]], jobs: Sequence[Job]) -> float:
    """What the engine and the driver take for each of many runs that are over at once, all being up."""
    with engine:
        sweep(jobs[:2], engine, perform, lambda _: None)
        start = time.perf_counter()
        sweep(jobs, engine, perform, lambda _: None)
        return (time.perf_counter() - start) / len(jobs)


def rewritten(page: str, figures: dict[str, Any]) -> str:
    """The page with these figures."""
    rate, megabyte = figures["driver_runs_per_second"], 2**20
    weights = figures["weights_bytes"] / megabyte
    lines = [
        "| What | Figure |",
        "|---|---|",
        f"| planning {figures['planned']:,} runs | {figures['planning_seconds']} s of one core |",
        f"| the driver's own part: finished runs a second, the runs themselves left out | {rate:,} |",
        f"| the same through a process that is up (`--executor local`) | {figures['processes_runs_per_second']:,} |",
        f"| what Ray adds to a run, once it is up | {figures['ray_seconds_a_run']} s |",
        f"| a record | {figures['record_bytes'] / 1024:.0f} KiB |",
        f"| weights of a Conv-4 | {weights:.2f} MiB |",
        f"| a state of its training (weights, best ones, moments), every ten seconds | about {4 * weights:.1f} MiB |",
        f"| 100,000 runs: the driver's part of them | {100_000 / rate / 60:.0f} min |",
        f"| 1,000 nodes with one run each: states that come back | {1000 * 4 * weights / 10:.0f} MiB a second |",
    ]
    machine = figures["machine"]
    lines += ["", f"Measured on {machine['name']} with {machine['cores']} cores, other work beside it.", ""]
    return _BETWEEN.sub("\n" + "\n".join(lines) + "\n", page)


def main() -> None:
    """Measure, and write page and figures."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever runs beside it goes first
    figures = measured()
    (DOCS / "sweeps.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    page = DOCS / "sweeps.md"
    page.write_text(rewritten(page.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
