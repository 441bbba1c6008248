"""Logs of a run: what each tool keeps, read back from its own files, and what happens where one fails."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from episodes.errors import UserError
from fewshot.training.logs import LOGS, Log, Logs, check_logs
from fewshot.training.loop import Progress, Validation
from toy_classes import QUICK

LOOKS = [Progress(10, 20, 0.5, 100.0, None), Progress(20, 20, 0.25, 100.0, Validation(20, 0.25, 0.75, 0.01, 1.0))]
RATES = [QUICK.learning_rate_at(9), QUICK.learning_rate_at(19)]


def logged(tool: str, folder: Path) -> list[str]:
    """A run of two looks and a result, cut off after the first look; what was said of it."""
    said: list[str] = []
    for looks, result in ((LOOKS[:1], {}), (LOOKS[1:], {"test/5w1s/accuracy": 0.7})):
        with Logs([tool], folder, "proto-toy", {"model": "proto", "seed": 0}, said.append) as logs:
            for look in looks:
                logs.beside(lambda _: None, QUICK)(look)
            if result:
                logs.write(20, result)
    return said


def test_tensorboard_keeps_the_curves_and_the_result(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert logged("tensorboard", tmp_path) == []
    files = [*(tmp_path / "tensorboard" / "proto-toy").iterdir()]
    found: dict[str, list[Any]] = {}
    for path in sorted(files):
        events = accumulator.EventAccumulator(str(path)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((event.step, event.value) for event in events.Scalars(tag))
    assert found["train/loss"] == [(10, 0.5), (20, 0.25)]
    assert found["train/learning_rate"] == [
        (step, pytest.approx(rate)) for step, rate in zip((10, 20), RATES, strict=True)
    ]
    assert found["val/accuracy"] == [(20, 0.75)]
    assert found["test/5w1s/accuracy"] == [(20, pytest.approx(0.7))]


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_mlflow_keeps_one_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the store of the user's own settings: a data base takes mlflow half a minute to make."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert logged("mlflow", tmp_path) == []
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("fewshot").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model": "proto", "seed": "0"}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 0.5), (20, 0.25)]
    assert run.data.metrics["train/learning_rate"] == RATES[1]
    assert run.data.metrics["val/accuracy"] == 0.75
    assert run.data.metrics["test/5w1s/accuracy"] == 0.7


def test_mlflow_without_settings_keeps_a_data_base_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    asked: list[str] = []
    monkeypatch.setattr(mlflow, "MlflowClient", asked.append)
    logged("mlflow", tmp_path)
    assert asked[0] == f"sqlite:///{tmp_path}/mlflow.db"


def written_by_wandb(folder: Path, messages: Any) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        content, start = path.read_bytes(), 7
        while start < len(content):  # a log of LevelDB: checksum, length and kind before each record
            (length,) = struct.unpack("<H", content[start + 4 : start + 6])
            record = messages.Record.FromString(content[start + 7 : start + 7 + length])
            start += 7 + length
            for item in record.history.item:
                values.setdefault(item.nested_key[0], []).append(item.value_json)
    return values


@pytest.mark.filterwarnings("ignore")  # wandb's own
def test_wandb_keeps_files_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: Any = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert logged("wandb", tmp_path) == []
    deadline = time.monotonic() + 20
    while len(written_by_wandb(tmp_path, messages).get("train/loss", [])) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)  # its own process writes the last of it after the run has ended
    values = written_by_wandb(tmp_path, messages)
    assert values["train/loss"] == ["0.5", "0.25"]
    assert values["val/accuracy"] == ["0.75"]
    assert values["test/5w1s/accuracy"] == ["0.7"]
    assert os.environ["WANDB_MODE"] == "offline"


def test_trackio_is_told_as_it_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in, since it asks for an older Pillow than ours: https://huggingface.co/docs/trackio."""
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    told: list[Any] = []

    def init(project: str, *, name: str, config: Mapping[str, Any], resume: str) -> Any:
        told.append((project, name, config, resume))
        print("* Trackio project initialized")
        return SimpleNamespace(
            log=lambda metrics, step: told.append((step, metrics)), finish=lambda: told.append("end")
        )

    module = ModuleType("trackio")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", module)
    assert logged("trackio", tmp_path) == []
    assert told[0] == ("fewshot", "proto-toy", {"model": "proto", "seed": 0}, "allow")
    assert [step for step, _ in told[1:2] + told[4:6]] == [10, 20, 20]
    assert told[4][1]["val/accuracy"] == 0.75
    assert told[-1] == "end"
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackio")


def test_standard_output_belongs_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Talking(Failing):
        def write(self, step: int, values: Mapping[str, float]) -> None:
            print("what a nice run")

    monkeypatch.setitem(LOGS, "wandb", Talking)
    Talking.failing = ""
    assert logged("wandb", tmp_path) == []
    assert "what a nice run" not in capsys.readouterr().out


class Failing(Log):
    """A log whose disk is full at one of its three steps."""

    failing = ""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self._may("begin")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._may("write")

    def close(self) -> None:
        self._may("close")

    def _may(self, step: str) -> None:
        if step == self.failing:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["begin", "write", "close"])
def test_a_log_that_fails_is_named_once_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setitem(LOGS, "wandb", Failing)
    monkeypatch.setattr(Failing, "failing", step)
    said: list[str] = []
    with Logs(["wandb"], tmp_path, "proto-toy", {}, said.append) as logs:
        logs.write(1, {})
        logs.write(2, {})
    (line,) = said
    assert line == "--log wandb has stopped, the run goes on without it: OSError: [Errno 28] No space left on device"


def test_a_name_that_there_is_not_and_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"unknown log 'wandbb'\. Did you mean 'wandb'\? Valid: .* fewshot-bench\[wandb\]"
    ):
        check_logs(["wandbb"])
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UserError, match=r"--log trackio needs .* pip install 'fewshot-bench\[trackio\]'"):
        check_logs(["trackio"])
