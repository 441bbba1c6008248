"""`fewshot reproduce --run --jobs N`: several trainings at once, each in a process of its own."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from episodes.errors import Interrupted, UserError
from fewshot.cli import sweep
from fewshot.cli.sweep import chains_of, train_side_by_side
from fewshot.experiments.paper_plan import Cell, fill
from fewshot.records.paper_tables import Column, Ours, PaperTable, Row, paper_table
from fewshot.records.record import read_records

PUBLISHED = {"method": "protonet", "variant": "euclidean", "dataset": "omniglot", "source": "Snell", "table": "Table 1"}
NARROW = {"width": 8}
REFINED = {"as": "soft-kmeans-proto", "unlabeled": 2}
TABLE = PaperTable(
    name="toy", title="toy", source="no paper", dataset="strokes", class_split="standard", pixels="strokes-standard-28",
    columns=(Column(5, 1, 1.0, query=5),),
    rows=(
        Row("proto", PUBLISHED, Ours("proto", encoder_options=NARROW)),
        Row("refined", PUBLISHED, Ours("proto", encoder_options=NARROW, test=REFINED)),
        Row("siamese", PUBLISHED, Ours("siamese-cosine", encoder_options=NARROW)),
    ),
    differences=("It is a toy.",),
)  # fmt: skip

PLAYED = """
import json, pathlib, signal, sys, time
words, folder = sys.argv[1:], pathlib.Path({folder!r})
model = words[words.index("--model") + 1] if "--model" in words else "second"
print("training", model, file=sys.stderr, flush=True)
with (folder / "calls.txt").open("a") as file:
    file.write(json.dumps(words) + chr(10))
if model == {failing!r}:
    sys.exit("fewshot: no such luck")
def stop(*_):
    (folder / (model + " saved")).touch()
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
(folder / model).touch()
end = time.monotonic() + 60
while not all((folder / name).exists() for name in {wait_for!r}):
    time.sleep(0.02)
    if time.monotonic() > end:
        sys.exit("fewshot: waited in vain")
print(json.dumps({{"config": {{"checkpoint": "the weights of " + model}}}}))
"""


@pytest.fixture
def cells() -> list[Cell]:
    return fill(TABLE, [])


def play(monkeypatch: pytest.MonkeyPatch, folder: Path, wait_for: Sequence[str] = (), failing: str = "") -> None:
    """Commands that note how they are called and end when certain others have begun."""
    code = PLAYED.format(folder=str(folder), wait_for=tuple(wait_for), failing=failing)
    monkeypatch.setattr(sweep, "_FEWSHOT", code)


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls.txt").read_text().splitlines()]


def test_cells_that_share_a_training_stand_in_one_chain(cells: list[Cell]) -> None:
    assert chains_of(cells, "smoke") == [[0, 1], [2]]


def test_tests_at_other_ways_and_shots_wait_for_the_training_that_they_share() -> None:
    """Two processes at one training would be refused: proto's fast recipe on Omniglot is the same for all four."""
    cells = [cell for cell in fill(paper_table("snell2017-table1"), []) if cell.row.ours is not None]
    assert len(cells) == 8
    chains = chains_of(cells, "fast")
    proto = [
        number for number, cell in enumerate(cells) if cell.row.ours is not None and cell.row.ours.model == "proto"
    ]
    assert proto in chains
    assert len(proto) == 4


def test_trainings_run_at_once_and_what_they_say_is_told_under_their_names(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each ends only when the other has begun: one after the other they would wait in vain."""
    play(monkeypatch, tmp_path, wait_for=("proto", "siamese-cosine"))
    said: list[str] = []
    train_side_by_side(cells, "smoke", 3, ["--out", "there"], 2, said.append)
    assert "[siamese, 5-way 1-shot] training siamese-cosine" in said
    assert said[-1] == "2 of 2 trainings finished"
    called = calls(tmp_path)
    assert len(called) == 4
    (evaluated,) = [words for words in called if words[0] == "evaluate"]
    assert evaluated[1] == "the weights of proto"
    assert called.index(evaluated) > max(called.index(words) for words in called if "proto" in words)
    assert all(words[-3:] == ["--out", "there", "--json"] for words in called)
    assert all("--seed" in words for words in called if words[0] == "run")


def test_one_that_fails_leaves_the_others_be_and_is_named_at_the_end(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(monkeypatch, tmp_path, failing="proto")
    with pytest.raises(UserError, match=r"1 of 2 trainings failed.*proto, 5-way 1-shot: no such luck"):
        train_side_by_side(cells, "smoke", 0, [], 2, lambda _: None)
    assert (tmp_path / "siamese-cosine").exists()


def test_ctrl_c_lets_all_of_them_save_and_begins_no_other(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(monkeypatch, tmp_path, wait_for=("nobody",))

    def interrupt() -> None:
        while not all((tmp_path / name).exists() for name in ("proto", "siamese-cosine")):
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a shell that runs the tests in the background ignores Ctrl-C
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="goes on from there"):
        train_side_by_side(cells, "smoke", 0, [], 2, lambda _: None)
    assert (tmp_path / "proto saved").exists()
    assert (tmp_path / "siamese-cosine saved").exists()
    assert len(calls(tmp_path)) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_real_trainings_fill_their_cells(cells: list[Cell], tmp_path: Path) -> None:
    more = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs"), "--episodes", "700"]
    train_side_by_side(cells[:2], "smoke", 0, more, 2, lambda _: None)
    found = read_records([tmp_path / "runs" / "records"])
    assert sorted({record.model for record in found}) == ["proto", "soft-kmeans-proto"]
    assert len({record.trained.checkpoint for record in found}) == 2
