"""Commands that are killed at random moments: nothing is lost, and the next start ends as an undisturbed one does.

KILLS=... of each kind go on for longer; the seed is printed, KILLS_SEED=... repeats its moments.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewshot.experiments import resolve
from fewshot.experiments.run import run_readouts
from fewshot.models.tensor_files import load_tensors
from fewshot.records.record import read_record
from fewshot.reports.results import marks
from killed import Killer
from photo_builders import save_classes
from toy_classes import QUICK, FewStrokes
from toy_runs import CONFIG

KILLS = int(os.environ.get("KILLS", "2"))
MODEL = ("run", "--dataset", "strokes", "--recipe", "smoke", "--train-way", "4", "--width", "8", "--query", "2")
TRAIN = (*MODEL, "--train-episodes", "60", "--episodes", "20", "--device", "cpu", "--precision", "fp32")
EXPORT = ("data", "export", "photos", "--size", "64")
WRITE = ("leaderboard", "--write")


@pytest.fixture
def killer() -> Iterator[Killer]:
    seed = int(os.environ.get("KILLS_SEED", random.SystemRandom().randrange(10**9)))
    killer = Killer(seed)
    print(f"KILLS_SEED={seed}")
    yield killer
    print(f"{killer.kills} kills")


def halves(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".partial-" in path.name]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and what was printed."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("said.txt", ".lock")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.suffix != ".lock"}


def test_a_training_killed_again_and_again_ends_bit_for_bit_alike(tmp_path: Path, killer: Killer) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    seconds = killer.whole(undisturbed, *TRAIN)
    while killer.kills < KILLS:
        if not killer.killed(disturbed, seconds, *TRAIN):
            assert_alike(undisturbed, disturbed)
            shutil.rmtree(disturbed / "runs")
    killer.whole(disturbed, *TRAIN)
    assert_alike(undisturbed, disturbed)


def assert_alike(undisturbed: Path, disturbed: Path) -> None:
    (first,), (second,) = (
        [*folder.glob("runs/checkpoints/*/checkpoint.safetensors")] for folder in (undisturbed, disturbed)
    )
    expected, found = load_tensors(first)[0], load_tensors(second)[0]
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    (one,), (other,) = ([*folder.glob("runs/records/*.json")] for folder in (undisturbed, disturbed))
    assert read_record(one).correct == read_record(other).correct
    assert halves(disturbed) == []


def test_a_cache_whose_building_is_killed_is_built_whole_by_the_next_start(tmp_path: Path, killer: Killer) -> None:
    save_classes(tmp_path / "photos", {f"c{number}": 30 for number in range(5)})
    seconds = killer.whole(tmp_path, *EXPORT)
    expected = contents(tmp_path / "data")
    name = next(path for path in tmp_path.glob("*.npz"))
    exported = name.read_bytes()
    while killer.kills < KILLS:
        shutil.rmtree(tmp_path / "data")
        if killer.killed(tmp_path, seconds, *EXPORT):
            killer.whole(tmp_path, *EXPORT)
        assert halves(tmp_path) == []
        assert {path: len(content) for path, content in contents(tmp_path / "data").items()} == {
            path: len(content) for path, content in expected.items()
        }
        assert name.read_bytes() == exported


def test_killed_publishing_and_writing_leave_each_file_old_or_new_and_the_next_one_ends(
    tmp_path: Path, killer: Killer
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve, "commit", lambda: "0" * 40)
        record, start = some_results(tmp_path, killer)
    for words in (("publish", record), WRITE):
        base = start if words is not WRITE else {**start, "results/runs/more.json": (tmp_path / record).read_bytes()}
        put_back(tmp_path, base)
        seconds = killer.whole(tmp_path, *words)
        expected, kills = contents(tmp_path / "results"), killer.kills
        readme = (tmp_path / "README.md").read_bytes()
        assert expected["leaderboard.md"] != base["results/leaderboard.md"]
        assert readme != base["README.md"]
        while killer.kills < kills + KILLS:
            put_back(tmp_path, base)
            killer.killed(tmp_path, seconds, *words)
            assert (tmp_path / "README.md").read_bytes() in (base["README.md"], readme)
            for path, content in contents(tmp_path / "results").items():
                assert ".partial-" in path or content in (base.get(f"results/{path}"), expected[path]), path
            killer.whole(tmp_path, *words)
            assert contents(tmp_path / "results") == expected
            assert (tmp_path / "README.md").read_bytes() == readme
            assert halves(tmp_path) == []


def some_results(folder: Path, killer: Killer) -> tuple[str, dict[str, bytes]]:
    """Results with one record and tables of it; a second record that is not among them; README.md and results now."""
    readme = "before\n{}\nold\n{}\nafter\n".format(*marks("leaderboard"))
    (folder / "README.md").write_text(readme)
    config = replace(CONFIG, recipe=replace(QUICK, name="fast"))
    first, second = (
        run_readouts(replace(config, seed=seed), FewStrokes(), folder / f"runs{seed}")[0][1] for seed in (1, 2)
    )
    killer.whole(folder, "publish", str(first))
    start = {path: content for path, content in contents(folder).items() if path.startswith(("README", "results"))}
    return str(second.relative_to(folder)), {**start, "README.md": readme.encode()}


def put_back(folder: Path, start: dict[str, bytes]) -> None:
    shutil.rmtree(folder / "results")
    for path, content in start.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
