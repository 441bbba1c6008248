"""`fewshot reproduce`: what it prints, and how it trains what is missing."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import Fewshot
from fewshot.cli.progress import SweepReporter
from fewshot.experiments import resolve
from fewshot.experiments.paper_plan import fill
from fewshot.progress import duration
from fewshot.records import paper_tables
from fewshot.records.paper_tables import Ours, PaperColumn, PaperRow, PaperTable
from fewshot.records.record import read_records, write_record
from fewshot.training.loop import Progress
from omniglot_records import of_omniglot
from toy_classes import QUICK

PROTO = {"method": "protonet", "variant": "euclidean", "dataset": "omniglot", "source": "Snell", "table": "Table 1"}
NARROW = {"width": 8}
TOY = PaperTable(
    name="toy",
    title="Two rules, one training",
    source="no paper",
    dataset="strokes",
    class_split="standard",
    pixels="strokes-standard-28-c50",
    columns=(PaperColumn(5, 1, 1.0, query=5),),
    rows=(
        PaperRow("as trained", PROTO, Ours("proto", encoder_options=NARROW)),
        PaperRow(
            "refined", PROTO, Ours("proto", encoder_options=NARROW, test={"as": "soft-kmeans-proto", "unlabeled": 2})
        ),
        PaperRow("another", PROTO, Ours("siamese-cosine", encoder_options=NARROW)),
        PaperRow("of others", PROTO),
    ),
    differences=("It is a toy.",),
)


@pytest.fixture
def toy_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of three short trainings on the strokes, called toy."""
    quick = replace(QUICK, name="fast")
    monkeypatch.setattr(resolve, "find_recipe", lambda *_: quick)
    monkeypatch.setattr(paper_tables, "paper_table", lambda _: TOY)
    monkeypatch.setattr(paper_tables, "paper_table_names", lambda: ("toy",))


def test_without_a_table_all_are_listed_with_how_many_cells_are_filled(fewshot: Fewshot) -> None:
    write_record(of_omniglot(), Path("results/runs/a.json"))
    outcome = fewshot("reproduce")
    assert outcome.status == 0, outcome.err
    for name in paper_tables.paper_table_names():
        assert name in outcome.out
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("snell2017-table1")]
    assert "1 of 8" in line


def test_a_table_is_printed_with_gap_verdict_status_differences_and_what_is_missing(fewshot: Fewshot) -> None:
    write_record(of_omniglot(), Path("runs/records/a.json"))
    out = fewshot("reproduce", "snell2017-table1").out
    (line,) = [line for line in out.splitlines() if "98.80" in line]
    for piece in ("5-way 1-shot", "90.00 ± 0.00", "-8.80"):
        assert piece in line
    below = out[out.index(line) :].splitlines()[1]
    for piece in ("no 95 % interval published", "verified", "fast, 60-way"):
        assert piece in below
    assert "Differences of protocol\n- " in out
    assert "7 cells of ours are missing" in out
    assert "\n  fewshot run --model proto --way 20 --shot 5\n" in out
    assert "recalled" in fewshot("reproduce", "fort2017").out


def test_as_json_every_cell_is_there(fewshot: Fewshot) -> None:
    write_record(of_omniglot(), Path("runs/records/a.json"))
    content = json.loads(fewshot("reproduce", "snell2017-table1", "--json").out)
    first, second = content["cells"][:2]
    assert first["gap"] == pytest.approx(-8.8)
    assert (first["verdict"], first["within_tolerance"]) == ("no 95 % interval published", False)
    assert first["published"]["status"] == "verified"
    assert first["ours"]["seeds"] == [0]
    assert second["ours"] is None
    assert second["commands"] == ["fewshot run --model proto --way 5 --shot 5"]


def test_a_mistyped_table_or_recipe_is_answered_with_the_near_one(fewshot: Fewshot) -> None:
    assert "Did you mean 'snell2017-table1'?" in fewshot("reproduce", "snell2017-tabel1").error
    assert "paper" in fewshot("reproduce", "fort2017", "--recipe", "papr").error


@pytest.mark.usefixtures("toy_table")
def test_what_is_missing_is_trained_once_and_fills_its_cells(fewshot: Fewshot) -> None:
    outcome = fewshot("reproduce", "toy", "--run")
    assert outcome.status == 0, outcome.err
    assert "are missing" not in outcome.out
    assert outcome.out.count("no 95 % interval published") == 3
    assert "run 3 of 3: another, 5-way 1-shot" in outcome.err
    records = read_records([Path("runs/records")])
    assert not [cell for cell in fill(TOY, records) if cell.is_missing]
    assert (
        len(list(Path("runs/checkpoints").glob("proto-*c50-fast-*"))) == 2
    )  # one training, and its weights as another
    (tested,) = [record for record in records if record.model == "soft-kmeans-proto"]
    assert tested.command.startswith("fewshot evaluate runs/checkpoints/proto-")
    (trained,) = [record for record in records if record.model == "siamese-cosine"]
    assert trained.command.startswith("fewshot run --model siamese-cosine --dataset strokes --way 5 --shot 1")
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}
    again = fewshot("reproduce", "toy", "--run")
    assert again.out == outcome.out
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}


@pytest.mark.usefixtures("toy_table")
def test_ctrl_c_loses_nothing(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = SweepReporter.training_progress

    def stop_once(self: SweepReporter, progress: Progress) -> None:
        original(self, progress)
        seen.append(progress.episode)
        if self.name.startswith("another") and progress.episode == 20:
            monkeypatch.setattr(SweepReporter, "training_progress", original)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SweepReporter, "training_progress", stop_once)
    stopped = fewshot("reproduce", "toy", "--run")
    assert stopped.status == 130
    assert "goes on from there" in stopped.err
    assert len(read_records([Path("runs/records")])) == 2
    outcome = fewshot("reproduce", "toy", "--run")
    assert "run 1 of 1: another" in outcome.err
    assert "are missing" not in outcome.out


def test_the_time_left_follows_the_speed_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("fewshot.cli.progress.time.monotonic", lambda: now)
    plan = SweepReporter({"resumed": 100.0, "next": 300.0})

    def at(seconds: float, episode: int) -> float | None:
        nonlocal now
        now = seconds
        plan.training_progress(Progress(episode, 100, 0.5, 1.0, None))
        return plan.seconds_left

    plan.begin("resumed")
    assert at(1000, 50) is None  # half of it was done before: that says nothing of this machine
    assert at(1010, 60) == pytest.approx(340)  # 10 of 400 units in 10 s; 40 + 300 are left
    assert at(1050, 100) == pytest.approx(300)
    plan.begin("next")
    assert plan.seconds_left == pytest.approx(300)
    assert at(1060, 0) == pytest.approx(300)
    assert at(1160, 50) == pytest.approx(150 * 150 / 200)  # the next went faster
    assert [duration(seconds) for seconds in (20, 50, 3590, 7500)] == ["20 s", "1 min", "1 h 00 min", "2 h 05 min"]
