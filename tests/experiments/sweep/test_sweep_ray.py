"""A sweep on a Ray cluster of two nodes of this machine, as if their disks were their own; and what dies there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.datasets.strokes.dataset import Strokes
from episodes.errors import Interrupted, UserError
from fewshot.experiments.comparison.tuning import read_trials, tune
from fewshot.experiments.config import RunConfig, TuneConfig
from fewshot.experiments.sweep.jobs import Job, Place, Result, perform
from fewshot.experiments.sweep.loop import sweep
from fewshot.experiments.sweep.survey import survey
from fewshot.experiments.sweep.workers import Workers
from fewshot.models.tensor_files import load_tensors
from fewshot.progress import Reporter
from fewshot.records.record import read_records
from running_processes import ancestors, processes, wait_until

ray = pytest.importorskip("ray")
from fewshot.experiments.sweep.ray_cluster import DriverFolder, RayCluster  # noqa: E402 - it needs Ray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
    pytest.mark.xdist_group("ray"),
]

TINY = RunConfig(
    dataset="strokes", recipe="smoke", encoder_options={"width": 8}, query=5, episodes=20, train_episodes=150
)
WORKER = "ray::_checked"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with the driver, and two nodes for a run each."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings lie that nothing disturbed, each made once for all tests."""
    return tmp_path_factory.mktemp("undisturbed")


def states(out: Path) -> list[Path]:
    return [*out.glob("checkpoints/*/state.safetensors")]


def same_weights(job: Job, out: Path, folder: Path) -> bool:
    """Whether a training ended as one that nothing disturbed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as Ray's workers have
    try:
        (made,) = perform([job], Place(folder), Reporter())
    finally:
        torch.set_num_threads(threads)
    assert isinstance(made, list)
    name = Path(made[0][0].trained.checkpoint).relative_to(folder)
    one, other = (load_tensors(place / name)[0] for place in (out, folder))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def ended(future: Future[list[Result]], out: Path) -> Result:
    """What came of it; the states that came back meanwhile never went back to an earlier episode."""
    episodes = []
    while not future.done():
        for path in states(out):
            try:
                episodes.append(load_tensors(path)[1]["episode"])
            except Exception:  # it is gone, the training has ended
                break
    assert episodes == sorted(episodes)
    (result,) = future.result()
    return result


def test_ctrl_c_a_killed_worker_and_a_killed_node_change_nothing(
    cluster: Any, tmp_path: Path, undisturbed: Path
) -> None:
    out = tmp_path / "runs"
    jobs = [Job("first", TINY), Job("second", replace(TINY, seed=1))]
    engine = RayCluster()
    act = engine.performing(jobs, Place(out), shared_disk=False)

    def interrupt() -> None:
        wait_until(lambda: states(out))
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="goes on from there"):
        sweep(jobs[:1], engine, act, lambda _: None)
    wait_until(lambda: not processes(WORKER, os.getpid()))
    assert len(states(out)) == 1
    before = load_tensors(states(out)[0])[1]["episode"]

    future = engine.submit(act, jobs[:1])
    wait_until(lambda: load_tensors(states(out)[0])[1]["episode"] > before)
    for pid in processes(WORKER, os.getpid()):
        os.kill(pid, signal.SIGKILL)
    assert isinstance(ended(future, out), list)

    future = engine.submit(act, jobs[1:])
    wait_until(lambda: states(out))
    (pid,) = processes(WORKER, os.getpid())
    (node,) = [
        node
        for node in cluster.list_all_nodes()
        if any(process.process.pid in ancestors(pid) for process in node.all_processes["raylet"])
    ]
    cluster.remove_node(node, allow_graceful=False)
    assert isinstance(ended(future, out), list)
    engine.shutdown()

    records = read_records([out / "records"])
    assert sorted(record.seed for record in records) == [0, 1]
    assert all(Path(record.trained.checkpoint).is_relative_to(out) for record in records)
    assert all(Path(record.trained.checkpoint).is_file() for record in records)
    assert states(out) == []
    assert all(same_weights(job, out, undisturbed) for job in jobs)


@pytest.mark.usefixtures("cluster")
def test_a_worker_needs_no_images_on_its_disk_and_another_version_is_refused(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(12):
        (images / f"class{number}").mkdir(parents=True)
        for index in range(8):
            pixels = np.full((28, 28), 20 * number + index, np.uint8)
            Image.fromarray(pixels).save(images / f"class{number}" / f"{index}.png")
    config = RunConfig(model="untrained", encoder="pixels", dataset=str(images), size=28, way=2, query=2, episodes=20)
    engine = RayCluster()
    act = engine.performing([Job("own images", config)], Place(tmp_path / "runs"), shared_disk=False)
    shutil.rmtree(images)
    outcomes, failures = sweep([Job("own images", config)], engine, act, lambda _: None)
    assert failures == []
    assert [record.num_episodes for record, _ in outcomes] == [20]

    engine.release = "fewshot-bench 0.0.9"
    _, failures = sweep([Job("own images", config)], engine, act, lambda _: None)
    (failure,) = failures
    assert " has fewshot-bench " in failure
    assert "and this sweep is of fewshot-bench 0.0.9: install the same on both" in failure


def test_a_killed_driver_loses_nothing_and_each_record_is_there_once(
    cluster: Any, tmp_path: Path, undisturbed: Path
) -> None:
    """The command itself; begun again here, where the cluster is open already."""
    out = tmp_path / "runs"
    jobs = [Job(f"seed {seed}", replace(TINY, seed=seed)) for seed in (0, 1)]
    words = [
        *TINY.to_words()[1:],
        "--seed",
        "0-1",
        "--out",
        str(out),
        "--executor",
        "ray",
        "--address",
        cluster.address,
    ]
    driver = subprocess.Popen([sys.executable, "-m", "fewshot", "sweep", *words])
    wait_until(lambda: states(out))
    driver.kill()
    driver.wait()
    assert len(states(out)) >= 1
    wait_until(lambda: not processes(WORKER, os.getpid()))
    place = Place(out)
    left = [one.job for one in survey(jobs, place, read_records([out / "records"])) if one.state != "finished"]
    assert left
    engine = RayCluster()
    _, failures = sweep(left, engine, engine.performing(left, place), lambda _: None)
    engine.shutdown()
    assert failures == []
    assert sorted(record.seed for record in read_records([out / "records"])) == [0, 1]
    assert states(out) == []
    assert all(same_weights(job, out, undisturbed) for job in jobs)


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_at_the_driver_ends_with_one_line_and_goes_on_later(tmp_path: Path, undisturbed: Path) -> None:
    class Full(DriverFolder):
        """Takes the first state, and then has no room."""

        def write(self, files: Mapping[str, bytes | None]) -> None:
            if any(self.out.glob("checkpoints/*/state.safetensors")):
                raise OSError(28, "No space left on device", str(self.out))
            super().write(files)

    job, out = Job("only", TINY), tmp_path / "runs"
    engine = RayCluster()
    act = engine.performing([job], Place(out), shared_disk=False, folder=Full)
    _, failures = sweep([job], engine, act, lambda _: None)
    assert failures == [f"only: No space left on device: {out}"]
    assert len(states(out)) == 1
    _, failures = sweep([job], engine, engine.performing([job], Place(out), shared_disk=False), lambda _: None)
    engine.shutdown()
    assert failures == []
    assert len(read_records([out / "records"])) == 1
    assert same_weights(job, out, undisturbed)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("shared_disk", [True, False])
def test_the_trials_of_a_search_are_made_on_the_cluster(tmp_path: Path, shared_disk: bool) -> None:
    """Its images are those of the search, which the configuration need not name."""
    performing = partialmethod(RayCluster.performing, shared_disk=shared_disk)
    config, strokes = TuneConfig(model="nca", recipe="smoke", encoder_options={"width": 8}, trials=3), Strokes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RayCluster, "performing", performing)
        with Workers("ray").making(Place(tmp_path / "there"), lambda _: None) as make:
            there = tune(config, strokes, tmp_path / "there", tmp_path / "there", make=make)
    assert read_trials(there.path) == there.trials
    assert all(trial.val_accuracy is not None for trial in there.trials)
    assert len([*(tmp_path / "there").glob("checkpoints/nca-strokes-*/training.json")]) == 3
    here = tune(config, strokes, tmp_path / "here", tmp_path / "here")
    assert [trial.parameters for trial in there.trials] == [trial.parameters for trial in here.trials]


@pytest.mark.usefixtures("cluster")
def test_workers_are_as_nice_as_the_driver() -> None:
    """Ray's own niceness of 15 gives a training what every other process leaves over."""
    engine = RayCluster()
    assert engine.submit(os.nice, 0).result() == os.nice(0)


@pytest.mark.usefixtures("cluster")
def test_what_the_cluster_has_not_is_refused() -> None:
    with pytest.raises(UserError, match="no machine of this cluster has a GPU"):
        RayCluster(gpus_per_run=0.25)
    with pytest.raises(UserError, match="with --address auto"):
        RayCluster("ray://somewhere:10001")
