"""Ray: the runs on any cluster, whose workers need neither this disk nor the images on theirs.

Ray queues, places and begins runs again whose worker or node died. Images go once to each node, through its object
store. Without a shared disk what a training leaves goes to a folder on the driver's machine while it runs, so that
another node goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
os.environ.setdefault("RAY_worker_niceness", "0")  # its own 15 lets all else on a machine go first
import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from episodes.datasets.base import Dataset
from episodes.datasets.opening import open_dataset
from episodes.errors import DataError, UserError
from episodes.files import write_atomically
from episodes.types import SPLITS, ImageSet
from fewshot.experiments.config import RunConfig
from fewshot.experiments.sweep.driver_folder import DriverFolder
from fewshot.experiments.sweep.executors import Engine
from fewshot.experiments.sweep.jobs import Chain, Job, Place, Result, perform
from fewshot.experiments.sweep.release import check_release, release
from fewshot.experiments.sweep.survey import in_memory
from fewshot.progress import LineReporter
from fewshot.records.record import TrainingLog, from_stored, with_digest
from fewshot.training.checkpoints import LOG
from fewshot.training.loop import Progress

T = TypeVar("T")
_Key = tuple[str | None, str | None, int | None]
Images = Mapping[_Key, Any]
"""Object references to packed data sets, by data set, class split and size."""
_SENT = ("checkpoints", "records", "logs")


class RayCluster(Engine):
    """Each run a Ray task: of the cluster at ``address``, or of a Ray that is started on this machine."""

    def __init__(self, address: str | None = None, gpus_per_run: float = 0.0) -> None:
        if address and address.startswith("ray://"):
            raise UserError("start the sweep on a machine of the cluster, with --address auto: it gets the results")
        self.release, self._refs = release(), list[Any]()
        self._mark: Path | None = None
        self._own = not ray.is_initialized()
        if self._own:
            try:
                quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
                ray.init(address=address or "local", include_dashboard=None if address else False, **quiet)
            except ConnectionError as error:
                raise UserError(f"no Ray cluster at --address {address}: {error}") from None
        if gpus_per_run and not ray.cluster_resources().get("GPU"):  # type: ignore[no-untyped-call]
            self.shutdown()
            raise UserError("--gpus-per-run: no machine of this cluster has a GPU; leave it out")
        self._task: Any = ray.remote(_checked)
        self._asked: dict[str, Any] = {"num_cpus": 1, "num_gpus": gpus_per_run, "max_retries": 3}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        reference, future = self._task.options(**self._asked).remote(self.release, fn, args, kwargs), Future[T]()
        self._refs.append(reference)
        reference.future().add_done_callback(partial(_hand_on, future))
        return future

    def performing(
        self, jobs: Sequence[Job], place: Place, *, shared_disk: bool = True, folder: type[DriverFolder] | None = None
    ) -> AtWorker:
        """perform for these jobs, whose images go into the object store; ``shared_disk``: whether to look for one."""
        if shared_disk:
            self._mark = place.out.absolute() / f".sweep-{uuid.getnode():x}"  # of this machine
            write_atomically(self._mark, b"")
        images, actor = _put_images(jobs, place.root), _at_driver(folder or DriverFolder, place.out)
        return AtWorker(place, images, actor, str(self._mark or ""), Path.cwd())

    def stop(self) -> None:
        for reference in self._refs:
            ray.cancel(reference)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._mark:
            self._mark.unlink(missing_ok=True)
        if self._own:
            ray.shutdown()


def _hand_on(future: Future[T], done: Future[T]) -> None:
    """What came of a task, without Ray's words around an error of the run's own."""
    if (error := done.exception()) is None:
        future.set_result(done.result())
    elif isinstance(error, RayTaskError):
        future.set_exception(error.cause)
    else:
        future.set_exception(BrokenExecutor(str(error).partition("\n")[0]))


def _checked(wanted: str, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
    """At a worker: the call, where the code is the driver's."""
    check_release(wanted)
    return fn(*args, **kwargs)


def _images_key(config: RunConfig) -> _Key:
    """What of a configuration says which images it needs."""
    return config.dataset, config.class_split, config.size


def _put_images(jobs: Iterable[Job], root: Path | None) -> Images:
    """The images of these jobs in the object store, which holds them once on each node."""
    keys = {_images_key(job.config) for job in jobs}
    return {
        (name, split, size): ray.put(_packed(open_dataset(name, root, split, size=size))) for name, split, size in keys
    }


def _packed(dataset: Dataset) -> tuple[Dataset, list[dict[str, Any]]]:
    """Arrays of NumPy: Ray maps them from shared memory, while it would copy tensors."""
    sets = []
    for split in SPLITS:
        with contextlib.suppress(DataError):  # a split without classes, which says so when it is asked for
            sets.append(dataset.load(split))
    plain = [{item.name: getattr(one, item.name) for item in fields(one)} for one in sets]
    return dataset, [values | {"images": values["images"].numpy()} for values in plain]


def _unpacked(packed: tuple[Dataset, list[dict[str, Any]]]) -> Dataset:
    dataset, sets = packed
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor does anyone write
        tensors = [values | {"images": torch.from_numpy(values["images"])} for values in sets]
    return in_memory(dataset, {values["split"]: ImageSet(**values) for values in tensors})


def _at_driver(folder: type[DriverFolder], out: Path) -> Any:
    """The actor, where the driver is."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(folder).options(num_cpus=0, scheduling_strategy=here).remote(out.absolute())


@dataclass(frozen=True)
class AtWorker:
    """perform at a worker, on images from the object store; in the driver's ``out`` where its ``mark`` is seen."""

    place: Place
    images: Images
    folder: Any
    mark: str
    cwd: Path

    def __call__(self, chain: Chain) -> list[Result]:
        packed: Any = ray.get(self.images[_images_key(chain[0].config)])
        dataset = _unpacked(packed)
        if self.mark and Path(self.mark).exists():
            with contextlib.chdir(self.cwd):  # paths are the driver's
                return perform(chain, self.place, LineReporter(), dataset)
        with tempfile.TemporaryDirectory() as scratch:
            mirror = _Mirror(Path(scratch), self.place.out, self.folder)
            return [mirror.perform(job, dataset) for job in chain]


class _Mirror(LineReporter):
    """A folder ``here`` of a worker that stands for ``out`` at the driver, who gets whatever is new in it."""

    def __init__(self, here: Path, out: Path, folder: Any) -> None:
        super().__init__()
        self.here, self.out, self.folder = here, out, folder
        self._sent: dict[str, int] = {}  # when each file was written that the driver has

    def perform(self, job: Job, dataset: Dataset) -> Result:
        """Go on from what the driver has of this training; its records name the driver's files."""
        if job.config.init is not None:
            raise UserError("--init names a file of the driver's disk, which this worker does not see")
        self._fetch(job, dataset)
        (result,) = perform([job], Place(self.here), self, dataset)
        self._send()
        if isinstance(result, UserError):
            return result
        if isinstance(result, TrainingLog):
            path = Path(result.trained.checkpoint).with_name(LOG)
            return msgspec.convert(json.loads(self._content(path)), TrainingLog)
        paths = [path for _, path in result]
        return [
            (from_stored(json.loads(self._content(path))), self.out / path.relative_to(self.here)) for path in paths
        ]

    def training_progress(self, progress: Progress) -> None:
        super().training_progress(progress)
        self._send()

    def _fetch(self, job: Job, dataset: Dataset) -> None:
        try:
            name = job.config.resolve(dataset).folder(self.here).relative_to(self.here)
        except UserError:
            return  # said again by the run itself
        for path, content in ray.get(self.folder.read.remote(str(name))).items():
            write_atomically(self.here / path, content)
        self._sent = self._stamps()

    def _send(self) -> None:
        """New files first, then which are gone: a state goes when the checkpoint is there."""
        stamps = self._stamps()
        new = {name: self._content(self.here / name) for name in stamps if stamps[name] != self._sent.get(name)}
        gone = dict.fromkeys(self._sent.keys() - stamps.keys())
        if new or gone:
            try:
                ray.get(self.folder.write.remote(new | gone))
            except RayTaskError as error:  # its disk is full
                raise error.cause from None
        self._sent = stamps

    def _stamps(self) -> dict[str, int]:
        files = (path for part in _SENT for path in (self.here / part).rglob("[!.]*") if path.is_file())
        return {str(path.relative_to(self.here)): path.stat().st_mtime_ns for path in files}

    def _content(self, path: Path) -> bytes:
        """Of a file here, as the driver has it: what names files here names them there."""
        content = path.read_bytes()
        if path.suffix != ".json":
            return content
        return with_digest(json.loads(content.replace(str(self.here).encode(), str(self.out).encode())))
