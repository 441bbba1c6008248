from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.bench import basics as bench
from fewshot.bench import suite
from fewshot.bench.libraries import CONTENDERS
from fewshot.models.hardware import peak_megabytes
from fewshot.progress import Reporter
from made_once import made_once
from toy_bench import shrink


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything measured once, on a few random pixels."""

    def measure() -> str:
        with pytest.MonkeyPatch.context() as monkeypatch:
            folder = tmp_path_factory.mktemp("bench")
            shrink(monkeypatch, folder)
            return json.dumps(suite.measure_all(folder, Reporter(), quick=True))

    return json.loads(made_once(tmp_path_factory, "measured.json", measure).read_text(encoding="utf-8"))


def test_every_figure_that_is_promised_is_measured(measured: Any) -> None:
    figures = {str(figure["name"]): figure for figure in measured["measurements"]}
    promised = (
        "delivery",
        "training step",
        "training",
        "delivery share",
        "training rate",
        "embedding",
        "embedding rate",
    )
    for name in promised:
        value = figures[f"omniglot 3w1s1q: {name}"]["value"]
        assert isinstance(value, float)
        assert value > 0
    assert figures["omniglot 3w1s1q: 10,000 test episodes"]["unit"] == "s"
    assert figures["omniglot: start to first step"]["unit"] == "s"
    assert figures["omniglot 3w1s1q: overhead of the loop"]["unit"] == "%"
    for what in ("step", "10,000 test episodes", "embedding 1,024 images"):
        for layout in ("", ", channels-last"):
            assert figures[f"omniglot 3w1s1q: {what} against plain PyTorch{layout}"]["unit"] == "times faster"
    assert measured["precision"] in ("bf16", "fp32")
    assert figures["peak in fp32"]["value"] > 0
    assert ("peak in bf16" in figures) == (measured["precision"] == "bf16")  # emulated, it would take minutes
    assert figures["peak memory"]["unit"] == "MB"


def test_random_pixels_are_called_that(measured: Any) -> None:
    trained = next(figure for figure in measured["measurements"] if str(figure["name"]).endswith(": training"))
    assert "random pixels" in str(trained["what"])


def test_training_and_step_time_say_the_same(measured: Any) -> None:
    figures = {str(figure["name"]): figure["value"] for figure in measured["measurements"]}
    images_per_step = 3 * (1 + 1)
    step_ms = figures["omniglot 3w1s1q: training step"]
    assert figures["omniglot 3w1s1q: training"] == pytest.approx(1000 * images_per_step / step_ms)


def test_every_contender_that_is_installed_is_measured(measured: Any) -> None:
    present = {name for name, contender in CONTENDERS.items() if not contender.why_not()}
    assert {"ours", "plain", "plain-channels-last"} <= present == {line["name"] for line in measured["contenders"]}
    for line in measured["contenders"]:
        assert min(line[key] for key in ("step_ms", "test_s", "embedding_ms")) > 0
        assert line["version"]


def test_shares_of_time_are_a_whole_and_name_the_convolutions(measured: Any) -> None:
    (loop,) = measured["loops"]
    for kind in ("training_shares", "embedding_shares"):
        assert sum(loop[kind].values()) == pytest.approx(100)
        assert loop[kind]["convolution"] > 0.5
    assert loop["training_shares"]["optimizer"] > 0
    assert loop["embedding_shares"]["batch norm"] > 0
    assert loop["embedding_shares"]["optimizer"] == 0
    assert loop["overhead_percent"] == pytest.approx(100 * (loop["loop_ms"] / loop["bare_ms"] - 1))


def test_the_table_shows_every_figure(measured: Any) -> None:
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as captured:
        console.print(suite.render(measured))
    for figure in measured["measurements"]:
        assert str(figure["name"]) in captured.get()


def test_a_clock_takes_the_fastest_of_many_calls_and_all_of_one() -> None:
    calls: list[int] = []

    def action() -> None:
        calls.append(len(calls))
        time.sleep(0.02 if len(calls) == 4 else 0.05)

    assert 0.02 <= bench.best_seconds(action, 0.3) < 0.045
    assert 6 <= len(calls) <= 9
    assert 0.05 <= bench.seconds(action) < 0.2


def test_with_isa_avx2_nothing_wider_is_computed_with_and_bfloat16_counts_as_emulated(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, for PyTorch chooses once."""
    told = "from fewshot.cli.bench import use_avx2_at_most as use; use(); from fewshot.models.hardware import *; "
    told += "print(torch.backends.cpu.get_cpu_capability(), choose_precision('auto', choose_device('cpu')))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    if platform.machine() in ("x86_64", "AMD64"):
        assert done.stdout.split() == ["AVX2", "fp32"]
    for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.setenv(name, "")  # what the command sets is taken back
    monkeypatch.setattr("fewshot.models.hardware.has_avx2_at_most", lambda: False)
    assert "--isa avx2 needs an x86 processor" in fewshot("bench", "--isa", "avx2").error
    assert "leave out --isa" in fewshot("bench", "--isa", "avx2", "--scaling", "--write").error


def test_the_peak_of_a_fresh_process_is_its_own() -> None:
    """What ``getrusage`` tells is inherited from the process that started it."""
    held = np.ones(40_000_000)  # 320 MB
    assert bench.in_a_process(peak_megabytes) < peak_megabytes() - held.nbytes / 2**21


def test_a_process_of_its_own_answers_or_says_why_not() -> None:
    assert bench.in_a_process(os.path.basename, "here/there") == "there"
    with pytest.raises(UserError, match=r"measuring rmdir nowhere failed: FileNotFoundError: .*nowhere"):
        bench.in_a_process(os.rmdir, "nowhere")
