from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from episodes.types import EpisodeSpec
from fewshot import bench
from fewshot.reporting import Reporter

TINY = bench.Setting(
    "omniglot 3w1s1q", "omniglot", EpisodeSpec(3, 1, 1), EpisodeSpec(3, 1, 2), (1, 28, 28), stand_in=(6, 4)
)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Everything measured once, on a few random pixels."""
    monkeypatch.setattr(bench, "SETTINGS", (TINY,))
    monkeypatch.setattr(bench, "_TEST_EPISODES", 20)
    monkeypatch.setattr(bench, "_run_first_step", lambda dataset, root: bench.first_step(dataset, str(root)))
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path))
    return bench.measure_all(tmp_path, Reporter(), quick=True)


def test_every_figure_that_is_promised_is_measured(measured: dict[str, list[dict[str, object]]]) -> None:
    figures = {str(figure["name"]): figure for figure in measured["measurements"]}
    for name in ("delivery", "training step", "training", "delivery share"):
        value = figures[f"omniglot 3w1s1q: {name}"]["value"]
        assert isinstance(value, float)
        assert value > 0
    assert figures["omniglot 3w1s2q: 10,000 test episodes"]["unit"] == "s"
    assert figures["omniglot: start to first step"]["unit"] == "s"
    assert figures["peak memory"]["unit"] == "MB"


def test_random_pixels_are_called_that(measured: dict[str, list[dict[str, object]]]) -> None:
    trained = next(figure for figure in measured["measurements"] if str(figure["name"]).endswith(": training"))
    assert "random pixels" in str(trained["what"])


def test_training_and_step_time_say_the_same(measured: dict[str, list[dict[str, float]]]) -> None:
    figures = {str(figure["name"]): figure["value"] for figure in measured["measurements"]}
    images_per_step = 3 * (1 + 1)
    step_ms = figures["omniglot 3w1s1q: training step"]
    assert figures["omniglot 3w1s1q: training"] == pytest.approx(1000 * images_per_step / step_ms)


def test_the_table_shows_every_figure(measured: dict[str, list[dict[str, object]]]) -> None:
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as captured:
        console.print(bench.render(measured))
    for figure in measured["measurements"]:
        assert str(figure["name"]) in captured.get()
