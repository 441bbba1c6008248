"""What README says of adding a data set is all that there is to do, here and in a package of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Fewshot, checkpoint_of, record_in
from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS, Card
from episodes.errors import DataError
from patterns import add_folder, write_package

SMOKE = ("run", "--dataset", "gray-noise", "--recipe", "smoke", "--width", "8", "--episodes", "20", "--query", "5")


def test_a_folder_with_its_card_is_a_data_set_from_run_to_leaderboard(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_folder(monkeypatch, tmp_path / "place")
    listed = fewshot("list", "datasets").out
    assert "Patterns: gray noise" in listed
    assert "gray-noise-standard-28/5w1s/q15@v1" in fewshot("list", "protocols").out
    assert fewshot("show", "gray-noise", "--way", "3", "--query", "2", "--picture", "episode.png").status == 0
    first = record_in(fewshot(*SMOKE))
    record_in(fewshot(*SMOKE, "--seed", "1"))
    assert first.protocol == "gray-noise-standard-28/5w1s/q5@v1"
    paths = sorted(str(path) for path in Path("runs/records").iterdir())
    verified = fewshot("verify", paths[0])
    assert "the number stands" in verified.out, verified.err
    record_in(fewshot(*SMOKE, "--model", "siamese"))
    paths = sorted(str(path) for path in Path("runs/records").iterdir())
    compared = fewshot("compare", *paths)
    assert compared.status == 0, compared.err
    assert first.protocol in compared.out
    fast = ("--recipe", "fast", "--train-episodes", "3", "--train-way", "5")
    trained = record_in(fewshot(*SMOKE, *fast))
    assert trained.trained.recipe.source == "this project: the recipe of miniimagenet, not tuned on gray-noise"
    assert "gray-noise-standard-28" in fewshot("leaderboard", "--csv").out
    report = fewshot("report")
    assert report.status == 0, report.err
    assert "Patterns" in Path("runs/report.html").read_text(encoding="utf-8")
    assert "no paper gives a whole recipe" in fewshot(*SMOKE, "--recipe", "paper").error


def test_what_was_trained_elsewhere_is_tested_and_verified_on_a_data_set_with_a_dash_in_its_name(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_folder(monkeypatch, tmp_path / "place")
    strokes = record_in(fewshot(*SMOKE, "--dataset", "strokes"))
    here = ("--dataset", "gray-noise", "--episodes", "20", "--query", "5")
    tested = fewshot("evaluate", checkpoint_of(strokes), *here)
    assert record_in(tested).protocol.startswith("gray-noise-standard-28/")
    (path,) = (path for path in Path("runs/records").iterdir() if "gray-noise" in path.name)
    assert "the number stands" in fewshot("verify", path).out


def test_a_package_elsewhere_adds_a_data_set_by_an_entry_point(tmp_path: Path) -> None:
    """In a process of its own, with an installed package; nothing of it is imported before names are asked for."""
    write_package(tmp_path / "patterns_package", "patterns_package")
    info = tmp_path / "gray-noise-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gray-noise\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fewshot.datasets]\ngray-noise = patterns_package.card:CARD\n")
    code = (
        "import sys; from episodes.datasets.cards import DATASETS\n"
        "assert 'patterns_package' not in sys.modules\n"
        "assert 'gray-noise' in DATASETS, list(DATASETS)\n"
        "assert 'torch' not in sys.modules\n"
        "from episodes.datasets.opening import open_dataset; from episodes.registry import origin_of\n"
        "print(open_dataset('gray-noise').load('test'), origin_of(DATASETS.get('gray-noise'))['package'])"
    )
    search = [str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {search!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(" gray-noise")


def test_data_sets_are_listed_without_torch(tmp_path: Path) -> None:
    """Torch alone takes two seconds; whether the files are here is seen without it, too."""
    code = "import sys; from fewshot.cli.main import cli; cli(['list', 'datasets'], standalone_mode=False)\n"
    code += "print([name for name in ('torch', 'scipy', 'pandas') if name in sys.modules])"
    environment = os.environ | {"FEWSHOT_DATA": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"
    assert re.search(r"^miniimagenet .* \(not here\)\n +splits: ravi$", done.stdout, re.MULTILINE)


def test_a_card_whose_class_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card("gray-noise", "", "", 2019, "nowhere:Patterns", ("standard",), (3, 32, 32), "photos")
    monkeypatch.setitem(DATASETS._entries, "gray-noise", card)
    with pytest.raises(DataError, match="nowhere:Patterns of the data set gray-noise cannot be loaded: No"):
        dataset_class("gray-noise")
