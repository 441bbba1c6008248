"""A package of a few lines, installed elsewhere, adds a method, a loss, a read-out and an encoder by entry points."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fewshot.records.ranking import ranked_rows
from fewshot.records.record import RunRecord, read_record
from installed_package import install

SOURCE = '''
from torch import nn
from fewshot import Range
from fewshot.models.encoders import Encoder
from fewshot.models.losses import Loss
from fewshot.models.methods import Method
from fewshot.models.readouts.soft_kmeans import SoftKMeans

class MovedMeans(SoftKMeans):
    title = "class means, moved by the queries"
    source = "a test of entry points, 2026"

class Nearest(Method):
    """The class of the support image that is nearest by the city-block distance."""
    title = "nearest support image, city-block distance"
    source = "a test of entry points, 2026"
    search = {"power": Range(1.0, 3.0)}
    def __init__(self, encoder, power: float = 1.0):
        super().__init__(encoder)
        self.power = power
    def logits(self, support, query, unlabeled=None):
        distances = (query[:, :, None, None] - support[:, None]).abs().pow(self.power).sum(-1)
        return -distances.amin(-1)

class Pull(Loss):
    title = "embeddings are pulled to the origin"
    source = "a test of entry points, 2026"
    def __init__(self, dim, num_classes, strength: float = 0.5):
        super().__init__(dim, num_classes)
        self.strength = strength
    def forward(self, embeddings, labels):
        return self.strength * embeddings.square().mean()

class Rows(Encoder):
    title = "the mean of every row of pixels"
    def __init__(self, image_shape, width: int = 3):
        super().__init__(image_shape)
        self.layer = nn.Linear(image_shape[1], width)
        self.feature_shape = (width,)
    def forward(self, images):
        return self.layer(self.normalize(images).mean((1, 3)))
'''
ENTRY_POINTS = {
    "fewshot.methods": "city-block = somebodys_methods:Nearest",
    "fewshot.losses": "pull = somebodys_methods:Pull",
    "fewshot.readouts": "moved-means = somebodys_methods:MovedMeans",
    "fewshot.encoders": "rows = somebodys_methods:Rows",
}
COMMANDS = """
import glob, json, sys
from command_line import use_few_strokes
from fewshot.cli.main import main
use_few_strokes()
for words in json.loads(sys.argv[1]):
    found = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
    print("$", *words, flush=True)
    try:
        main(found)
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
"""
SMOKE = ("run", "--dataset", "strokes", "--recipe", "smoke", "--episodes", "20", "--query", "5")


def fewshot(folder: Path, *commands: list[str]) -> tuple[dict[str, str], str]:
    """What each command printed, and standard error: a process of its own, which finds the package as pip left it."""
    here = Path(__file__).resolve().parents
    path = os.pathsep.join([str(folder / "site"), str(here[1] / "helpers"), str(here[2])])
    environment = {**os.environ, "PYTHONPATH": path, "FEWSHOT_DATA": str(folder / "data"), "COLUMNS": "200"}
    words = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    parts = done.stdout.split("$ ")[1:]
    return {part.splitlines()[0]: part for part in parts}, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    install(folder / "site", "somebodys-methods", {"somebodys_methods": SOURCE}, ENTRY_POINTS)
    install(
        folder / "site", "broken", {"broken": "import nothing_of_that_name"}, {"fewshot.methods": "bad = broken:Bad"}
    )
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> tuple[dict[str, str], str]:
    lists = [["list", what] for what in ("models", "encoders", "readouts")]
    runs = [
        [*SMOKE, "--model", "city-block", "--power", "2", "--encoder", "rows", "--readout", "own,moved-means"],
        [*SMOKE, "--model", "pull", "--width", "8", "--train-episodes", "2"],
    ]
    records = "runs/records/*_5w1s_*_smoke_*.json"
    tune = ["tune", *SMOKE[1:5], "--model", "city-block", "--encoder", "rows", "--budget", "0.5", "--trials", "2"]
    return fewshot(folder, *lists, *runs, ["compare", records], ["verify", records], tune)


def records_in(folder: Path) -> dict[str, RunRecord]:
    found = [read_record(path) for path in folder.glob("runs/records/*.json")]
    return {f"{record.model} {record.readout}".strip(): record for record in found}


def test_it_is_listed_run_compared_and_verified(told: tuple[dict[str, str], str]) -> None:
    printed, errors = told
    assert "--power float (default 1.0)" in printed["list models"]
    assert "--strength float (default 0.5)" in printed["list models"]
    assert "the mean of every row of pixels" in printed["list encoders"]
    assert "class means moved by one step of it on the queries" in printed["list readouts"]
    (compared,) = (text for words, text in printed.items() if words.startswith("compare"))
    assert "city-block" in compared
    assert "pull" in compared
    (verified,) = (text for words, text in printed.items() if words.startswith("verify"))
    assert "city-block" in verified
    (tuned,) = (text for words, text in printed.items() if words.startswith("tune"))
    assert "power=" in tuned
    assert "in full " in tuned
    assert "[[entry]]" not in tuned  # a recipe of this project cannot name a method that lies elsewhere
    (warning,) = (line for line in errors.splitlines() if "warning" in line)
    assert warning.startswith("warning: model 'bad' of broken cannot be used: ModuleNotFoundError: No module named")


@pytest.mark.usefixtures("told")
def test_its_records_name_the_package_its_version_and_its_source(folder: Path) -> None:
    records = records_in(folder)
    sha256 = hashlib.sha256((folder / "site" / "somebodys_methods.py").read_bytes()).hexdigest()
    origin = {"package": "somebodys-methods", "version": "1.2", "sha256": sha256}
    packages = records["city-block"].trained.packages
    assert packages["model"] == packages["encoder"] == origin
    assert records["pull"].trained.packages["model"] == origin
    assert records["pull"].trained.model_options == {}
    assert records["city-block"].trained.model_options == {"power": 2.0}
    assert "readout" in records["city-block moved-means"].trained.packages
    assert "readout" not in packages


@pytest.mark.usefixtures("told")
def test_a_transductive_readout_is_ranked_in_a_setting_of_its_own(folder: Path) -> None:
    records = records_in(folder)
    assert not records["city-block"].transductive
    assert records["city-block moved-means"].transductive
    rows = {row.entry.first.readout: row.setting for row in ranked_rows(records.values(), smoke=True)}
    assert rows["moved-means"] == "transductive"
    assert rows[""] == "inductive"
