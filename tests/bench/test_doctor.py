from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fewshot.bench import doctor
from fewshot.bench.doctor import Finding, examine, render


@pytest.fixture(autouse=True)
def no_learn2learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing learn2learn takes seconds; its own tests do it."""
    monkeypatch.setattr("fewshot.bench.doctor.why_not", lambda: "gym not installed; `make setup` installs it")
    monkeypatch.delenv("FEWSHOT_CACHE", raising=False)


def named(findings: list[Finding], what: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.what == what]
    return finding


def printed(findings: list[Finding], width: int = 100) -> str:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(render(findings))
    return capture.get()


def test_versions_device_and_precision_are_told(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    assert torch.__version__ in named(findings, "PyTorch").detail
    assert named(findings, "torchvision").detail.startswith(importlib.metadata.version("torchvision").split("+")[0])
    assert f"numpy {importlib.metadata.version('numpy')}" in named(findings, "packages").detail
    assert "fp32" in named(findings, "precision").detail
    assert named(findings, "device").detail.startswith("cuda" if torch.cuda.is_available() else "cpu")
    assert {finding.status for finding in findings if finding.what in ("Python", "PyTorch", "packages")} == {"ok"}


def test_data_sets_are_found_in_the_given_folder_or_told_how_to_get(tmp_path: Path) -> None:
    missing = named(examine(tmp_path), "data set omniglot")
    assert missing.status == "missing"
    assert str(tmp_path) in missing.detail
    assert "fewshot data get omniglot" in missing.advice
    for part in ("images_background", "images_evaluation"):
        (tmp_path / "omniglot-py" / part).mkdir(parents=True)
    findings = examine(tmp_path)
    assert named(findings, "data set omniglot") == Finding("data set omniglot", "ok", str(tmp_path / "omniglot-py"))
    assert named(findings, "data set strokes").status == "ok"


def test_data_folder_is_the_default_one_unless_another_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path / "nowhere"))
    assert named(examine(), "data folder").status == "missing"
    assert "nowhere" in named(examine(), "data folder").detail
    assert named(examine(tmp_path), "data folder").status == "ok"


def test_absent_learn2learn_is_no_problem_and_comes_with_advice(tmp_path: Path) -> None:
    found = named(examine(tmp_path), "learn2learn")
    assert (found.status, found.advice) == ("missing", "`make setup` installs it")
    assert "gym not installed" in found.detail


def test_an_absent_package_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "fewshot.bench.doctor.importlib.metadata.requires",
        lambda _: ["numpy>=2", 'no-such>=1; extra == "dev"', "nope>=1"],
    )
    found = named(examine(tmp_path), "packages")
    assert (found.status, found.detail) == ("problem", "not installed: nope")


def test_little_disk_and_a_folder_nobody_may_write_are_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Little:
        free = 5e8

    monkeypatch.setattr("fewshot.bench.doctor.shutil.disk_usage", lambda _: Little)
    found = named(examine(tmp_path), "array cache")
    assert (found.status, found.detail) == ("problem", f"{tmp_path / 'cache'}, 0.5 GB free")
    assert "FEWSHOT_CACHE" in found.advice

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("fewshot.bench.doctor.tempfile.TemporaryFile", refuse)
    found = named(examine(tmp_path), "array cache")
    assert (found.status, found.detail) == ("problem", f"{tmp_path / 'cache'}: Permission denied")


def test_examining_writes_nothing(tmp_path: Path) -> None:
    examine(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_what_system_and_container_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = tmp_path / "meminfo"
    assert doctor._available_memory_gb(proc, tmp_path) is None
    proc.write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    assert doctor._available_memory_gb(proc, tmp_path) == pytest.approx(8.192)
    (tmp_path / "memory.current").write_text("1000000000\n")
    (tmp_path / "memory.max").write_text("3500000000\n")
    assert doctor._available_memory_gb(proc, tmp_path) == pytest.approx(2.5)
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor._available_memory_gb(proc, tmp_path) == pytest.approx(8.192)
    monkeypatch.setattr(doctor, "_available_memory_gb", lambda: 2.5)
    assert doctor._memory().status == "problem"


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (ImportError("No module named torchvision"), "not installed"),
        (RuntimeError("CUDA versions differ"), "does not import: CUDA versions differ"),
    ],
)
def test_a_torchvision_that_does_not_import_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception, detail: str
) -> None:
    monkeypatch.setattr(doctor, "import_torchvision", raiser(failure))
    found = named(examine(tmp_path), "torchvision")
    assert (found.status, found.detail) == ("problem", detail)
    assert found.advice


def test_a_check_that_fails_is_told_and_stops_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "describe_machine", raiser(OSError("no such device")))
    findings = examine(tmp_path)
    assert named(findings, "device").status == "problem"
    assert "OSError: no such device" in named(findings, "device").detail
    assert named(findings, "tensorboard").what == "tensorboard"


def test_table_shows_the_advice_beneath_and_takes_no_bracket_for_markup() -> None:
    findings = [Finding("tensorboard", "missing", "not installed", "pip install fewshot-bench[tensorboard]")]
    assert [line.rstrip() for line in printed(findings).splitlines()] == [
        "missing  tensorboard  not installed",
        "                      -> pip install fewshot-bench[tensorboard]",
    ]


def raiser(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
