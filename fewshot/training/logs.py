"""Logs of a run for tools that draw curves. None reaches a network, unless the user's own settings of the tool say so.

What they keep is written under one folder. A tool that fails is left alone from then on: it never stops a training.
Every name in LOGS is that of the tool's package, and of the extra that installs it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.training.loop import Progress
from fewshot.training.recipes import Recipe

PROJECT = "fewshot"
"""What the tools call the runs of this package together."""


class Log(ABC):
    """A tool that keeps numbers of one run. ``settings`` say what is run; a run that goes on has the same ``name``."""

    @abstractmethod
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by names such as ``train/loss``, after ``step`` training episodes."""

    @abstractmethod
    def close(self) -> None:
        """The run has ended, or was stopped."""


class TensorBoard(Log):
    """Event files under ``tensorboard/``. PyTorch's own writer waits for ever where its disk is full, so not by it."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        path = folder / "tensorboard" / name / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._records: Any = RecordWriter(path.open("wb"))
        self._add(file_version="brain.Event:2")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        found = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step=step, summary=self._summary(value=found))

    def _add(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()

    def close(self) -> None:
        self._records.close()


class MLflow(Log):
    """The tracking server of MLFLOW_TRACKING_URI, else ``mlflow.db``."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow
        from mlflow.entities import Metric

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._metric = Metric
        folder.mkdir(parents=True, exist_ok=True)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db"
        with FileLock(folder / "mlflow.lock"):  # it makes its tables once, whoever comes first
            self._client = mlflow.MlflowClient(uri)
            known = self._client.get_experiment_by_name(PROJECT)
            experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        found = self._client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1)
        self._run = (found[0] if found else self._client.create_run(experiment, run_name=name)).info.run_id
        self._client.update_run(self._run, "RUNNING")
        for key, value in {} if found else settings.items():
            self._client.log_param(self._run, key, value)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)


class WeightsAndBiases(Log):
    """Files under ``wandb/`` for `wandb sync`; WANDB_MODE=online sends them while it runs."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {"name": name, "id": name, "config": dict(settings), "dir": str(folder)}
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)
        project = os.environ.get("WANDB_PROJECT") or PROJECT
        self._run = wandb.init(project=project, resume="allow", reinit="create_new", settings=quiet, **about)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio(Log):
    """The database of TRACKIO_DIR, else under ``trackio/``; with TRACKIO_SPACE_ID it goes there."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("TRACKIO_DIR", str((folder / "trackio").absolute()))
        import trackio

        self._run = trackio.init(PROJECT, name=name, config=dict(settings), resume="allow")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


LOGS: dict[str, type[Log]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def check_logs(names: Sequence[str]) -> None:
    """Raises UserError for a log that there is not, or whose package is not installed."""
    for name in names:
        if name not in LOGS:
            raise UserError(f"{unknown_name_message('log', name, LOGS)} Each is an extra: fewshot-bench[wandb]")
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--log {name} needs a package that is not installed: pip install 'fewshot-bench[{name}]'")


class Logs(AbstractContextManager["Logs"]):
    """The logs of one run, closed at its end; of one that fails ``say`` is told, once."""

    def __init__(
        self, tools: Sequence[str], folder: Path, name: str, settings: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self._open: dict[str, Log] = {}
        self._say = say
        for tool in tools:
            self._try(tool, partial(self._begin, tool, folder, name, settings))

    def _begin(self, tool: str, *about: Any) -> None:
        self._open[tool] = LOGS[tool](*about)

    def beside(self, tell: Callable[[Progress], object], recipe: Recipe) -> Callable[[Progress], None]:
        """A callback of ``train`` that tells ``tell``, and then the logs."""

        def told(progress: Progress) -> None:
            tell(progress)
            self.write(progress.episode, _curves(progress, recipe))

        return told

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """These numbers to every log, after ``step`` training episodes."""
        for tool, log in [*self._open.items()]:
            self._try(tool, partial(log.write, step, values))

    def __exit__(self, *_: object) -> None:
        for tool, log in [*self._open.items()]:
            self._try(tool, log.close)

    def _try(self, tool: str, act: Callable[[], object]) -> None:
        try:
            with redirect_stdout(sys.stderr):  # standard output belongs to the command
                act()
        except Exception as error:
            self._open.pop(tool, None)
            reason = next(iter(str(error).splitlines()), "")
            self._say(f"--log {tool} has stopped, the run goes on without it: {type(error).__name__}: {reason}")


def _curves(progress: Progress, recipe: Recipe) -> dict[str, float]:
    """Of a training that has come so far; with what a validation found where there was one just now."""
    values = {
        "train/loss": progress.loss,
        "train/learning_rate": recipe.learning_rate_at(progress.episode - 1),
        "train/episodes_per_second": progress.episodes_per_second,
    }
    validation = progress.validation
    if validation is not None and validation.episode == progress.episode:
        values |= {"val/accuracy": validation.accuracy, "val/ci95": validation.ci95}
    return values
