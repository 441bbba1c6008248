"""docs/howto/speed.md says what speed.json and scaling.json say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.reports.pages.speed import check_page, write_speed

ROOT = Path(__file__).parents[2]
MACHINE = {"name": "a processor", "cores": 2, "device": "cpu"}


def line(name: str, step_ms: float, test_s: float) -> dict[str, Any]:
    told = {"title": name, "training": "as it goes", "testing": "one by one", "version": "1.0"}
    times = {"step_ms": step_ms, "test_s": test_s, "embedding_ms": step_ms / 4}
    return told | times | {"name": name, "setting": "s", "pixels": "real images"}


def measured(**more: Any) -> dict[str, Any]:
    shares = {"convolution": 60.0, "batch norm": 25.0, "pooling": 10.0, "other": 5.0}
    loop = {"setting": "s", "precision": "bf16", "bare_ms": 100.0, "loop_ms": 102.0, "overhead_percent": 2.0}
    for kind in ("training", "embedding"):
        loop |= {f"{kind}_images_per_s": 3000.0, f"{kind}_gflops": 150.0, f"{kind}_shares": shares}
    return {
        "machine": MACHINE,
        "versions": {"torch": "2.9"},
        "commit": "0123456789abcdef",
        "precision": "bf16",
        "load": 0.1,
        "contenders": [line("ours", 100.0, 10.0), line("easyfsl", 430.0, 500.0)],
        "loops": [loop],
        "peak": {"side": 4096, "bf16_gflops": 300.0, "fp32_gflops": 100.0},
        "measurements": [{"name": "peak memory", "value": 1234.0, "unit": "MB", "what": "resident"}],
    } | more


def goal(model: str, accuracy: float) -> dict[str, Any]:
    settings = {
        "model": model,
        "pixels": "omniglot-vinyals-28",
        "way": 5,
        "shot": 1,
        "recipe": "fast",
        "num_episodes": 10_000,
    }
    medians = {"median_training_seconds": 200.0, "median_seconds_without_validation": 180.0}
    found = {"target": 0.988, "median_accuracy": accuracy, "median_command_seconds": 220.0, "seeds_that_met_it": 2}
    goal = settings | medians | found | {"trainings": [{}, {}, {}]}
    return {"machine": MACHINE, "load": 0.1, "measurements": [], "time_to_accuracy": goal}


def test_the_committed_page_is_what_its_figures_generate() -> None:
    check_page(ROOT / "docs" / "howto")
    assert (ROOT / "docs" / "howto" / "scaling.svg").is_file() == (ROOT / "docs" / "howto" / "scaling.json").is_file()


def test_ratios_and_shares_are_computed_from_the_figures(tmp_path: Path) -> None:
    page = write_speed(tmp_path, measured())[0].read_text(encoding="utf-8")
    assert "| easyfsl 1.0 | 430 (4.3 times) | 500 (50.0 times) | 108 (4.3 times) |" in page
    assert "50 % (bf16) | convolution 60 %, batch norm 25 %, pooling 10 % |" in page
    assert "| s (bf16) | 100 | 102 | +2.0 % |" in page
    assert "| peak memory | 1,234 | MB | resident |" in page
    assert "busy" not in page


def test_processors_with_and_without_bf16_stand_side_by_side(tmp_path: Path) -> None:
    write_speed(tmp_path, measured())
    slower = [line("ours", 400.0, 20.0), line("easyfsl", 800.0, 600.0), line("plain", 600.0, 500.0)]
    page = write_speed(tmp_path, measured(precision="fp32", contenders=slower))[0].read_text(encoding="utf-8")
    assert "| who | step (ms) with bf16 |" in page
    both = "| easyfsl 1.0 | 430 (4.3 times) | 500 (50.0 times) | 108 (4.3 times) "
    assert both + "| 800 (2.0 times) | 600 (30.0 times) | 200 (2.0 times) |" in page
    assert "| plain 1.0 | | | | 600 (1.5 times) |" in page
    again = write_speed(tmp_path, measured(contenders=[line("ours", 90.0, 10.0)]))[0].read_text(encoding="utf-8")
    assert "| ours | 90.0 | 10.0 | 22.5 | 400 | 20.0 | 100 |" in again


def test_a_glance_spans_the_settings_and_the_picture_has_a_bar_for_each_time(tmp_path: Path) -> None:
    more = [line("ours", 10.0, 1.0) | {"setting": "t"}, line("easyfsl", 25.0, 200.0) | {"setting": "t"}]
    found = measured(contenders=[*measured()["contenders"], *more])
    page = write_speed(tmp_path, found)[0].read_text(encoding="utf-8")
    assert "| library | training step, with bf16 | 10,000 test episodes, with bf16 |" in page
    assert "| easyfsl | 2.5–4.3 times | 50–200 times |" in page
    assert "Training runs at 50 % of the machine's peak, embedding at 50 %" in page
    picture = (tmp_path / "speed.svg").read_text(encoding="utf-8")
    assert ">430 ms, 4.3 times</text>" in picture
    assert ">25.0 ms, 2.5 times</text>" in picture
    assert ">10.0 ms</text>" in picture


def test_a_busy_machine_is_said_to_have_been_busy(tmp_path: Path) -> None:
    page = write_speed(tmp_path, measured(load=3.0))[0].read_text(encoding="utf-8")
    assert "**The machine was busy with other work (load 3.0 on 2 cores" in page


def test_times_to_accuracy_stay_when_all_else_is_measured_again(tmp_path: Path) -> None:
    write_speed(tmp_path, measured())
    write_speed(tmp_path, goal("proto", 0.980))
    write_speed(tmp_path, goal("matching", 0.979))
    write_speed(tmp_path, goal("proto", 0.989))
    page = write_speed(tmp_path, measured(load=0.2))[0].read_text(encoding="utf-8")
    assert page.count("`proto` on Omniglot, 5-way 1-shot") == 1
    assert "**98.90 % after 200 s of training**, target 98.80 %" in page
    assert "2 of 3 seeds met the target. Training takes 180 s without validation" in page
    assert "written record it is 220 s" in page
    assert "`matching` on Omniglot" in page
    assert "| easyfsl 1.0 |" in page
    assert [found["model"] for found in json.loads((tmp_path / "speed.json").read_text())["times_to_accuracy"]] == [
        "matching",
        "proto",
    ]


def test_a_page_that_was_changed_by_hand_is_found_out(tmp_path: Path) -> None:
    page, *_ = write_speed(tmp_path, measured())
    check_page(tmp_path)
    page.write_text(page.read_text(encoding="utf-8").replace("4.3 times", "5.3 times"), encoding="utf-8")
    with pytest.raises(UserError, match="fewshot bench --write"):
        check_page(tmp_path)


def test_what_does_not_go_together_is_refused_before_anything_is_measured(fewshot: Fewshot) -> None:
    assert "one after the other" in fewshot("bench", "--scaling", "--time-to-accuracy").error
    assert "leave out --write" in fewshot("bench", "--model", "proto", "--write").error


def test_what_testing_costs_stays_on_the_page_when_other_figures_are_measured_anew(tmp_path: Path) -> None:
    seconds = {"name": "relation: 10,000 episodes 5w1s15q", "value": 9.5, "unit": "s", "what": "embedding 2.0 s, real"}
    memory = {"name": "relation: peak memory at 20w5s15q", "value": 0.6, "unit": "GB", "what": "resident"}
    of_more = {
        "name": "relation: 10,000 episodes 20w1s15q",
        "value": 28.1,
        "unit": "s",
        "what": "embedding 2.0 s, real",
    }
    step = {"name": "relation: training step", "value": 71.25, "unit": "ms", "what": "5,053 images/s, 360 a step"}
    figures = [seconds, of_more, memory, step]
    models = {"machine": MACHINE, "load": 0.1, "commit": "abc", "of_models": "all", "measurements": figures}
    write_speed(tmp_path, models)
    page = write_speed(tmp_path, measured())[0].read_text(encoding="utf-8")
    assert "A training step takes 71.2 ms (`relation`) to 71.2 ms (`relation`)" in page
    assert "| relation | 71.2 | 5,053 | 9.50 | embedding 2.0 s | 28.1 | 0.60 |" in page
    assert "| peak memory | 1,234 | MB | resident |" in page
