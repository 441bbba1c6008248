from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from episodes.errors import UserError
from fewshot.bench import basics as bench
from fewshot.bench import suite
from fewshot.bench.libraries import CONTENDERS
from fewshot.progress import Reporter
from toy_bench import shrink


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything measured once, on a few random pixels."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("bench")
        shrink(monkeypatch, folder)
        return suite.measure_all(folder, Reporter(), quick=True)


def test_every_figure_that_is_promised_is_measured(measured: Any) -> None:
    figures = {str(figure["name"]): figure for figure in measured["measurements"]}
    for name in ("delivery", "training step", "training", "delivery share", "training rate", "embedding rate"):
        value = figures[f"omniglot 3w1s1q: {name}"]["value"]
        assert isinstance(value, float)
        assert value > 0
    assert figures["omniglot 3w1s2q: 10,000 test episodes"]["unit"] == "s"
    assert figures["omniglot: start to first step"]["unit"] == "s"
    assert figures["omniglot 3w1s1q: overhead of the loop"]["unit"] == "%"
    assert figures["omniglot 3w1s1q: step against plain PyTorch"]["unit"] == "times faster"
    assert figures["peak in bf16"]["value"] > 0
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
    assert {"ours", "plain"} <= present == {line["name"] for line in measured["contenders"]}
    for line in measured["contenders"]:
        assert line["steps"] >= 3
        assert line["step_ms"] > 0
        assert line["test_s"] > 0
        assert line["version"]


def test_shares_of_time_are_a_whole_and_name_the_convolutions(measured: Any) -> None:
    (loop,) = measured["loops"]
    for kind in ("training_shares", "embedding_shares"):
        assert sum(loop[kind].values()) == pytest.approx(100)
        assert loop[kind]["convolution"] > 0.5
    assert loop["training_shares"]["optimizer"] > 0
    assert loop["embedding_shares"]["optimizer"] < 1
    assert loop["overhead_percent"] == pytest.approx(100 * (loop["loop_ms"] / loop["bare_ms"] - 1))


def test_the_table_shows_every_figure(measured: Any) -> None:
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as captured:
        console.print(suite.render(measured))
    for figure in measured["measurements"]:
        assert str(figure["name"]) in captured.get()


def test_a_process_of_its_own_answers_or_says_why_not() -> None:
    assert bench.in_a_process("os.path:basename", "here/there") == "there"
    with pytest.raises(UserError, match=r"measuring os.path:nothing word failed: ImportError.*nothing"):
        bench.in_a_process("os.path:nothing", "word")
