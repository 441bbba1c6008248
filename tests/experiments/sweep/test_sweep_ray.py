"""A sweep on a Ray cluster of two nodes of this machine, as if their disks were their own; and what dies there."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import FEW_STROKES
from episodes.datasets.cards import DATASETS
from episodes.errors import Interrupted, UserError
from fewshot.experiments.comparison.tuning import Tuning, read_trials, tune
from fewshot.experiments.config import RunConfig, TuneConfig
from fewshot.experiments.sweep.driver_folder import DriverFolder
from fewshot.experiments.sweep.jobs import Job, Place, perform
from fewshot.experiments.sweep.loop import sweep
from fewshot.experiments.sweep.survey import survey
from fewshot.experiments.sweep.workers import Workers
from fewshot.models.tensor_files import load_tensors
from fewshot.progress import Reporter
from fewshot.records.record import read_records
from killed import begun, prepare
from photo_builders import gray_squares
from running_processes import ancestors, processes, wait_until
from toy_classes import FewStrokes
from toy_runs import in_any_process

ray = pytest.importorskip("ray")
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from fewshot.experiments.sweep.ray_cluster import RayCluster  # noqa: E402 - it needs Ray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
    pytest.mark.xdist_group("ray"),
]

WORKER = "ray::_checked"
SEARCH = TuneConfig(
    model="nca", recipe="smoke", encoder_options={"width": 8}, batch_size=32, train_episodes=40, trials=3
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with the driver, and another node, for a run each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        soon = {"health_check_period_ms": 250, "health_check_failure_threshold": 2}  # a dead node is missed
        kept = {"num_workers_soft_limit": 4}  # a worker that has imported PyTorch waits for the next run
        spared = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
        head = {"num_cpus": 1, "_system_config": soon | kept, **spared}
        cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
    prepare()
    ray.init(address=cluster.address, log_to_driver=False)
    for node in ray.nodes():
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ray.remote(perform).options(scheduling_strategy=there).remote([], Place())  # both import PyTorch meanwhile
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return in_any_process(tmp_path_factory.mktemp("tiny"))


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


def episode_of(state: Path) -> int:
    return int(load_tensors(state)[1]["episode"])


def keeping(folder: Path) -> type[DriverFolder]:
    """Every state that comes to the driver lies in that folder too, under the time when it came."""
    folder.mkdir()

    class Keeping(DriverFolder):
        def write(self, files: Mapping[str, bytes | None]) -> None:
            for name, content in files.items():
                if content is not None and name.endswith("/state.safetensors"):
                    (folder / str(time.monotonic_ns())).write_bytes(content)
            super().write(files)

    return Keeping


def episodes_in(folder: Path) -> list[int]:
    """Those at which the states of a folder were kept, in the order in which they came."""
    return [episode_of(path) for path in sorted(folder.iterdir(), key=lambda path: int(path.name))]


def test_ctrl_c_a_killed_node_and_a_killed_worker_change_nothing(
    cluster: Any, tiny: RunConfig, tmp_path: Path, undisturbed: Path
) -> None:
    job, out, kept = Job("only", tiny), tmp_path / "runs", tmp_path / "kept"
    engine = RayCluster()
    act = engine.performing([job], Place(out), shared_disk=False, folder=keeping(kept))
    (node,) = cluster.worker_nodes
    engine._asked["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node.node_id, soft=True)  # while it is up

    def interrupt() -> None:
        wait_until(lambda: states(out))
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="goes on from there"):
        sweep([job], engine, act, lambda _: None)
    wait_until(lambda: not processes(WORKER, os.getpid()))
    (state,) = states(out)
    interrupted = episode_of(state)

    future = engine.submit(act, [job])
    wait_until(lambda: episode_of(state) > interrupted)
    (pid,) = processes(WORKER, os.getpid())
    assert node.all_processes["raylet"][0].process.pid in ancestors(pid)
    cluster.remove_node(node, allow_graceful=False)
    with suppress(ProcessLookupError):  # a worker outlives its node by up to a second, which no machine does
        os.kill(pid, signal.SIGKILL)

    wait_until(lambda: processes(WORKER, os.getpid()))
    without_node = episode_of(state)
    wait_until(lambda: episode_of(state) > without_node)
    (pid,) = processes(WORKER, os.getpid())
    os.kill(pid, signal.SIGKILL)
    (result,) = future.result(timeout=200)
    engine.shutdown()

    assert isinstance(result, list)
    episodes = episodes_in(kept)
    assert episodes == sorted({*episodes}), "no episode is trained that is in a state already"
    (record,) = read_records([out / "records"])
    assert Path(record.trained.checkpoint).is_relative_to(out)
    assert Path(record.trained.checkpoint).is_file()
    assert states(out) == []
    assert same_weights(job, out, undisturbed)


@pytest.mark.usefixtures("cluster")
def test_a_worker_needs_no_images_on_its_disk_and_another_version_is_refused(tmp_path: Path) -> None:
    images = gray_squares(tmp_path / "images", classes=12)
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
    cluster: Any, tiny: RunConfig, tmp_path: Path, undisturbed: Path
) -> None:
    """The command itself; begun again here, where the cluster is open already."""
    job, out = Job("only", tiny), tmp_path / "runs"
    words = ["sweep", *tiny.to_words()[1:], "--out", str(out), "--executor", "ray", "--address", cluster.address]
    driver = begun(tmp_path, *words)
    wait_until(lambda: states(out))
    driver.kill()
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    assert len(states(out)) == 1
    wait_until(lambda: not processes(WORKER, os.getpid()))
    (found,) = survey([job], Place(out), read_records([out / "records"]))
    assert found.state == "to train"
    engine = RayCluster()
    _, failures = sweep([job], engine, engine.performing([job], Place(out)), lambda _: None)
    engine.shutdown()
    assert failures == []
    assert len(read_records([out / "records"])) == 1
    assert states(out) == []
    assert same_weights(job, out, undisturbed)


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_at_the_driver_ends_with_one_line_and_goes_on_later(
    tiny: RunConfig, tmp_path: Path, undisturbed: Path
) -> None:
    class Full(DriverFolder):
        """Takes the first state, and then has no room."""

        def write(self, files: Mapping[str, bytes | None]) -> None:
            if any(self.out.glob("checkpoints/*/state.safetensors")):
                raise OSError(28, "No space left on device", str(self.out))
            super().write(files)

    job, out, kept = Job("only", tiny), tmp_path / "runs", tmp_path / "kept"
    engine = RayCluster()
    act = engine.performing([job], Place(out), shared_disk=False, folder=Full)
    _, failures = sweep([job], engine, act, lambda _: None)
    assert failures == [f"only: No space left on device: {out}"]
    (state,) = states(out)
    before = episode_of(state)
    act = engine.performing([job], Place(out), shared_disk=False, folder=keeping(kept))
    _, failures = sweep([job], engine, act, lambda _: None)
    engine.shutdown()
    assert failures == []
    assert episodes_in(kept)[0] > before, "it went on"
    assert len(read_records([out / "records"])) == 1
    assert same_weights(job, out, undisturbed)


@pytest.fixture(scope="module")
def found_here(tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    """A search whose trials are made in this process."""
    folder = tmp_path_factory.mktemp("here")
    return tune(SEARCH, FewStrokes(), folder, folder)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("shared_disk", [True, False])
def test_the_trials_of_a_search_are_made_on_the_cluster(
    tmp_path: Path, shared_disk: bool, found_here: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images are those of the search, which the configuration need not name."""
    monkeypatch.setitem(DATASETS._entries, "strokes", FEW_STROKES)
    monkeypatch.setattr(RayCluster, "performing", partialmethod(RayCluster.performing, shared_disk=shared_disk))
    with Workers("ray").making(Place(tmp_path), lambda _: None) as make:
        there = tune(SEARCH, FewStrokes(), tmp_path, tmp_path, make=make)
    assert read_trials(there.path) == there.trials
    assert all(trial.val_accuracy is not None for trial in there.trials)
    assert len([*tmp_path.glob("checkpoints/nca-strokes-*/training.json")]) == 3
    assert [trial.parameters for trial in there.trials] == [trial.parameters for trial in found_here.trials]


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
