"""Each row of "Where do I add ..." in CONTRIBUTING.md takes what it says and no more: here, or in the test it names."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.cli.options import config_options, given
from fewshot.experiments.config import RunConfig, option
from fewshot.experiments.sweep.executors import Engine
from fewshot.experiments.sweep.jobs import Job, Place
from fewshot.experiments.sweep.loop import sweep
from fewshot.records import numbers, paper_tables, published
from fewshot.reports import frame as frames
from fewshot.reports import results
from fewshot.reports.frame import Column, csv_text, leaderboard_frame
from fewshot.reports.html import figures
from fewshot.reports.html.figures import Figure
from fewshot.reports.html.gallery import Gallery
from fewshot.reports.html.page import render, write_plots
from fewshot.reports.html.row_names import Board
from fewshot.reports.pages.base import Page
from fewshot.reports.plots import charts
from fewshot.statistics.intervals import Interval
from fewshot.training import recipes
from fewshot.training.recipes import find_recipe
from omniglot_records import of_omniglot
from played_runs import play
from records import published as publish
from toy_classes import FewStrokes
from toy_runs import CONFIG

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).name
TRIED_IN = {
    "a method, a loss, a read-out, an encoder": "models/test_installed_package.py",
    "a data set": "episodes/test_adding_a_dataset.py",
    "an option of `run`": f"architecture/{HERE}",
    "a recipe": f"architecture/{HERE}",
    "a column of the leaderboard": "reports/test_leaderboard.py",
    "a published table": f"architecture/{HERE}",
    "an interval": f"architecture/{HERE}",
    "a page of results": f"architecture/{HERE}",
    "a figure of the report": f"architecture/{HERE}",
    "an executor of sweeps": f"architecture/{HERE}",
}


def test_every_row_is_tried_somewhere() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = text.partition("## Where do I add")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("|")][2:]
    assert [name.strip() for name, *_ in rows] == list(TRIED_IN)
    assert all((ROOT / "tests" / where).is_file() for where in TRIED_IN.values())
    files = {word for _, written, _ in rows for word in re.findall(r"`((?:fewshot|tests|episodes)/[^`<]+)`", written)}
    assert len(files) > 5
    assert [name for name in files if not (ROOT / name).exists()] == []


@dataclass(frozen=True, kw_only=True, repr=False)
class OneMore(RunConfig):
    """With an option for a field of the recipe that has none."""

    momentum: float | None = option(None, "Adam's first one [default: the recipe's].", min=0, max=1, max_open=True)


def test_a_field_with_its_help_is_an_option_of_command_configuration_identity_and_recipe() -> None:
    command = config_options(OneMore)(click.command("run")(lambda **_: None))
    assert "--momentum" in command.get_help(click.Context(command))
    choices = command.make_context("run", ["--momentum", "0.5", "--dataset", "strokes"]).params
    config = OneMore(**given(OneMore, choices))
    assert config.to_command().endswith("--momentum 0.5")
    with pytest.raises(click.BadParameter, match="not in the range"):
        command.make_context("run", ["--momentum", "1.5"])
    small = OneMore(**{item.name: getattr(CONFIG, item.name) for item in dataclasses.fields(CONFIG)})
    usual, changed = (one.resolve(FewStrokes()) for one in (small, replace(small, momentum=0.5)))
    assert changed.training is not None
    assert changed.training.recipe.momentum == 0.5
    assert changed.identity() != usual.identity()
    with pytest.raises(UserError, match="model untrained is not trained: leave out --momentum"):
        replace(small, model="untrained", recipe="fast", momentum=0.5).checked()


def test_an_entry_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    shutil.copytree(ROOT / "fewshot/training/recipes", folder)
    before = find_recipe("fast", "strokes", 1, "matching")
    with (folder / "strokes.toml").open("a") as file:
        file.write('\n[[entry]]\nrecipe = "fast"\nmodel = "matching"\nsource = "somebody"\nlearning_rate = 0.5\n')
    monkeypatch.setattr(recipes, "resources", SimpleNamespace(files=lambda _: folder))
    recipes._tables.cache_clear()
    try:
        assert find_recipe("fast", "strokes", 1, "matching") == replace(before, source="somebody", learning_rate=0.5)
        assert find_recipe("fast", "strokes", 1, "proto").source != "somebody"
    finally:
        recipes._tables.cache_clear()


TABLE = """
title = "Prototypical Networks elsewhere"
source = "Nobody, 2026, Table 1"
dataset = "omniglot"
class_split = "vinyals"
pixels = "omniglot-vinyals-28"
columns = [{ way = 5, shot = 1, tolerance = 0.4 }]
differences = ["Nobody wrote it."]

[[rows]]
name = "Prototypical Networks"
printed = { method = "protonet", source = "Nobody", table = "Table 1" }
ours = { model = "proto" }
"""
NUMBER = 'protonet,euclidean,Conv4-64,omniglot,5,1,89.5,,,1000,,"Nobody, 2026",Table 1,reimplementation,verified\n'


@pytest.fixture
def published_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the papers' tables and numbers, which is read in their place."""
    folder = tmp_path / "published_data"
    shutil.copytree(ROOT / "fewshot/records/published_data", folder)
    read_once: list[Any] = [paper_tables.paper_table_names, paper_tables.paper_table, numbers.published]
    read_once += [published._targets, published.models_with_targets]
    for module in (paper_tables, numbers):
        monkeypatch.setattr(module, "resources", SimpleNamespace(files=lambda _: tmp_path))
    for function in read_once:
        function.cache_clear()
    yield folder
    for function in read_once:
        function.cache_clear()


def test_a_file_and_its_printed_numbers_are_a_table_that_finds_its_records(
    fewshot: Fewshot, published_data: Path
) -> None:
    (published_data / "nobody2026-table1.toml").write_text(TABLE)
    with (published_data / "numbers.csv").open("a") as file:
        file.write(NUMBER)
    publish(Path("results"), of_omniglot(0.9))
    (cell,) = json.loads(fewshot("reproduce", "nobody2026-table1", "--json").out)["cells"]
    assert (cell["published"]["accuracy"], cell["ours"]["accuracy"]) == (89.5, 90)
    assert "nobody2026-table1" in fewshot("reproduce").out


def test_a_function_and_a_column_are_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    def range_of_episodes(accuracies: Any) -> Interval:
        half_width = float(np.ptp(accuracies)) / 2
        return Interval(float(accuracies.min()) + half_width, half_width, len(accuracies), method="range")

    column = Column(
        "half_range", lambda row: 100 * range_of_episodes(row.entry.accuracies).half_width, "float64", ".4f"
    )
    monkeypatch.setattr(frames, "COLUMNS", [*frames.COLUMNS, column])
    frame = leaderboard_frame([of_omniglot(0.9)])
    assert frame["half_range"].tolist() == [0]
    assert csv_text(frame).splitlines()[0].endswith(",half_range")


def test_a_page_in_the_list_is_written_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("seeds", lambda records: {"seeds.md": f"{len({record.seed for record in records})} seeds\n"})
    monkeypatch.setattr(results, "PAGES", (page,))
    folder = publish(tmp_path / "results", of_omniglot(seed=1), of_omniglot(seed=2))
    assert results.write_results(folder) == [folder / "seeds.md"]
    assert (folder / "seeds.md").read_text() == "2 seeds\n"
    (folder / "seeds.md").write_text("3 seeds\n")
    with pytest.raises(UserError, match="not what the records say"):
        results.check_results(folder)


def test_what_a_section_calls_is_a_figure_of_the_page_and_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hits(board: Board) -> Figure:
        row = board.rows[0]
        drawing = charts.ridge_chart([(row.name, "#000", row.accuracies)], "hits", 100, "accuracy")
        return Figure(f"hits-{board.key}", "How often it hit", "Anything.", drawing)

    monkeypatch.setattr(figures, "costs", hits)  # in the place of one that a section calls
    records = [of_omniglot(0.9)]
    assert "How often it hit" in render(records)
    written = [path.name for path, _ in write_plots(records, Gallery(), tmp_path)]
    assert [name.startswith("hits-") for name in written].count(True) == 1


class Threads(Engine):
    """A thread for each run."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def make() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except UserError as error:
                future.set_exception(error)

        threading.Thread(target=make).start()
        return future

    def stop(self) -> None:
        raise KeyboardInterrupt


def test_submit_and_stop_are_an_executor(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps({"wait_for": [], "failing": "matching", "dying": ""}))
    jobs = [Job(model, RunConfig(model=model, dataset="strokes", recipe="smoke")) for model in ("proto", "matching")]
    outcomes, failures = sweep(jobs, Threads(), partial(play, place=Place(tmp_path)), lambda _: None)
    assert [record.model for record, _ in outcomes] == ["proto"]
    assert failures == ["matching: no such luck"]
