"""What a sweep costs beside its trainings: ``python -m fewshot.bench.sweeps`` measures, writes docs/howto/sweeps.json.

docs/howto/sweeps.md shows these figures; ``rewritten`` puts them there.
"""

from __future__ import annotations

import json
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from episodes.datasets.base import dataset_class
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.types import SPLITS
from fewshot.experiments.config import RunConfig
from fewshot.experiments.measure import Outcome
from fewshot.experiments.sweep.driver_folder import DriverFolder
from fewshot.experiments.sweep.executors import Engine, InThisProcess, Processes
from fewshot.experiments.sweep.jobs import Chain, Job, Perform, Place, Result, perform
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
    with RayCluster() as ray:
        ray_figures = {
            "ray_seconds_a_run": round(seconds_a_run(ray, canned, jobs[:100]), 3),
            "training_bytes": bytes_of_a_training(ray),
        }
    with Processes(1) as engine:
        processes = round(1 / seconds_a_run(engine, canned, jobs[:1000]))
    one, two = (trainings_with(count) for count in (1, 2))
    return ray_figures | {
        "machine": describe_machine(choose_device()),
        "planned": len(jobs),
        "planning_seconds": round(planning, 1),
        "driver_runs_per_second": round(1 / seconds_a_run(InThisProcess(), canned, jobs)),
        "processes_runs_per_second": processes,
        "record_bytes": round(statistics.median(path.stat().st_size for path in (RESULTS / "runs").glob("*.json"))),
        "weights_bytes": round(statistics.median(weights)),
        "images_bytes": {name: images_bytes(name) for name in ("strokes", "omniglot", "miniimagenet")},
        "one_worker": one,
        "two_workers": two,
    }


TRAINED = RunConfig(dataset="strokes", recipe="smoke", train_episodes=20, episodes=20)
"""A real training of a Conv-4, short enough to be measured in a minute on a free core."""


class CountedFolder(DriverFolder):
    """Knows how many bytes came to the driver."""

    received = 0

    def write(self, files: Mapping[str, bytes | None]) -> None:
        self.received += sum(len(content) for content in files.values() if content)
        super().write(files)

    def bytes(self) -> int:
        return self.received


def bytes_of_a_training(cluster: RayCluster) -> int:
    """What a worker without the driver's disk sends to it: states, checkpoint, record."""
    with tempfile.TemporaryDirectory() as out:
        jobs = [Job("counted", TRAINED)]
        act = cluster.performing(jobs, Place(Path(out)), shared_disk=False, folder=CountedFolder)
        _, failures = sweep(jobs, cluster, act, lambda _: None)
        assert not failures, failures
        return int(ray.get(act.folder.bytes.remote()))


def images_bytes(name: str) -> int | None:
    """What Ray sends once to each node; None where the data set is not on this machine."""
    try:
        dataset = open_dataset(name, None) if dataset_class(name)().is_present() else None
    except UserError:
        dataset = None
    return sum(dataset.load(split).images.nbytes for split in SPLITS) if dataset else None


def trainings_with(workers: int) -> dict[str, float]:
    """Four trainings through so many processes that are up: images a second of all, and CPU seconds of each."""
    jobs = [Job(f"seed {seed}", replace(TRAINED, seed=seed)) for seed in range(4 + workers)]
    with tempfile.TemporaryDirectory() as out:
        act = partial(perform, place=Place(Path(out)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with Processes(workers) as engine:
            sweep(jobs[4:], engine, act, lambda _: None)
            start = time.perf_counter()
            _, failures = sweep(jobs[:4], engine, act, lambda _: None)
            seconds = time.perf_counter() - start
        assert not failures, failures
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    images = sum(job.images() for job in jobs[:4])
    return {"images_per_second": round(images / seconds), "cpu_seconds": round(processor / len(jobs), 1)}


def seconds_a_run(engine: Engine, perform: Perform, jobs: Sequence[Job]) -> float:
    """What the engine and the driver take for each of many runs that are over at once, all being up."""
    sweep(jobs[:2], engine, perform, lambda _: None)
    start = time.perf_counter()
    sweep(jobs, engine, perform, lambda _: None)
    return (time.perf_counter() - start) / len(jobs)


def rewritten(page: str, figures: dict[str, Any]) -> str:
    """The page with these figures; what was not measured is left out."""
    rate, megabyte = figures["driver_runs_per_second"], 2**20
    weights, state = figures["weights_bytes"] / megabyte, 4 * figures["weights_bytes"] / megabyte
    sizes = figures.get("images_bytes", {})
    found = {name: size for name, size in sizes.items() if size}
    images = ", ".join(f"{name} {found[name] / megabyte:,.0f}" for name in sorted(found, key=found.__getitem__))
    per_run = figures["record_bytes"] + figures["weights_bytes"]
    lines = [
        "| What | Figure |",
        "|---|---|",
        f"| planning {figures['planned']:,} runs | {figures['planning_seconds']} s of one core |",
        f"| the driver's own part: finished runs a second, the runs themselves left out | {rate:,} |",
        f"| the same through a process that is up (`--executor local`) | {figures['processes_runs_per_second']:,} |",
        f"| what Ray adds to a run, once it is up | {figures['ray_seconds_a_run']} s |",
    ]
    for name, workers in (("one_worker", "one worker"), ("two_workers", "two workers")):
        if rate_of := figures.get(name):
            said = f"{rate_of['images_per_second']:,} images a second, {rate_of['cpu_seconds']} CPU-seconds a training"
            lines.append(f"| four short trainings of a Conv-4 with {workers} | {said} |")
    if images:
        lines.append(f"| images, once to each node, MiB | {images} |")
    if sent := figures.get("training_bytes"):
        lines.append(f"| all that came to the driver of one short training | {sent / megabyte:.1f} MiB |")
    lines += [
        f"| a record | {figures['record_bytes'] / 1024:.0f} KiB |",
        f"| weights of a Conv-4 | {weights:.2f} MiB |",
        f"| a state of its training (weights, best ones, moments), every ten seconds | about {state:.1f} MiB |",
        f"| 100,000 runs: the driver's part of them | {100_000 / rate / 60:.0f} min |",
        f"| 100,000 runs: their records and weights | {100_000 * per_run / 2**30:.0f} GiB |",
        f"| 1,000 nodes with one run each: states that come back | {1000 * state / 10:.0f} MiB a second |",
    ]
    machine = figures["machine"]
    lines += ["", f"Measured on {machine['name']} with {machine['cores']} cores, other work beside it.", ""]
    return _BETWEEN.sub("\n" + "\n".join(lines) + "\n", page)


def main() -> None:
    """Measure, and write page and figures."""
    figures = measured()
    (DOCS / "sweeps.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    page = DOCS / "sweeps.md"
    page.write_text(rewritten(page.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
