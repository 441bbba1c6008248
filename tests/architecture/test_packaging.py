"""What a user installs: dependencies, pins, wheel, make targets; and that no committed file tells of one machine."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fewshot.models import learn2learn_adapter as adapter
from fewshot.records import record as records_of_disk
from fewshot.records.record import read_records
from records import committed

ROOT = Path(__file__).resolve().parents[2]
UNWANTED = {"lightning", "pytorch-lightning", "albumentations", "torchmeta", "higher", "ffcv"}
# Written in pieces, so that this file does not contain what it forbids.
MACHINE_TRACES = re.compile(
    r"/wo"
    r"rk/|/ro"
    r"ot/|/ho"
    r"me/\w|/Us"
    r"ers/\w|[a-z]:\\us"
    r"ers|"
    r"py"
    r"pi\.org|python"
    r"hosted\.org|download\.py"
    r"torch\.org|"
    r"registry\.np"
    r"mjs|deb\.deb"
    r"ian\.org|ana"
    r"conda\.org",
    re.IGNORECASE,
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        content: dict[str, Any] = tomllib.load(file)["project"]
    return content


def requirements() -> dict[str, str]:
    """Every dependency of the package and its extras: canonical name -> version condition."""
    declared = project()
    lines = [
        *declared["dependencies"],
        *(line for extra in declared["optional-dependencies"].values() for line in extra),
    ]
    found = {}
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)(.*)", line)
        assert match, f"{line!r} is not a plain requirement"
        found[canonical(match[1])] = match[2]
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {}
    for line in filter(None, (line.split("#")[0].strip() for line in lines)):
        match = re.fullmatch(r"([a-z0-9-]+)==(\d[\w.]*)", line)
        assert match, f"{line!r} in constraints.txt is not a plain pin"
        found[match[1]] = match[2]
    return found


def committed_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("needs the git checkout, to know which files are committed")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    specification = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def copied_sources(folder: Path) -> Path:
    """All that a build reads."""
    for package in ("episodes", "fewshot"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "results" / "runs", folder / "results" / "runs")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of the committed and uncommitted sources, built without isolation, hence without a network."""
    folder = copied_sources(tmp_path_factory.mktemp("wheel"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", "dist", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


EDITABLE = "from setuptools import build_meta; print(build_meta.build_editable('.'))"


def test_a_checkout_is_a_line_of_site_packages_and_no_code(tmp_path: Path) -> None:
    """Code there runs before the program can answer Ctrl-C, and takes as long as all else of Python's start."""
    folder = copied_sources(tmp_path)
    command = [sys.executable, "-c", EDITABLE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as built:
        files = [name for name in built.namelist() if ".dist-info/" not in name]
        assert files == ["__editable__.fewshot_bench-" + project()["version"] + ".pth"]
        assert built.read(files[0]).decode() == f"{folder}\n"


def test_dependencies_have_lower_bounds_only() -> None:
    for name, condition in requirements().items():
        assert re.fullmatch(r">=\d+(\.\d+)*", condition), f"{name}{condition}"
    assert re.fullmatch(r">=\d+\.\d+", project()["requires-python"])


def test_nothing_unwanted_is_required_or_pinned() -> None:
    assert not UNWANTED & (requirements().keys() | pins().keys())


def test_every_dependency_and_what_learn2learn_needs_is_pinned() -> None:
    wanted = requirements().keys() | {canonical(name) for name in (*adapter.NEEDS, *adapter.BUILD_TOOLS, "learn2learn")}
    assert wanted <= pins().keys(), wanted - pins().keys()
    assert (pins()["torch"], pins()["torchvision"], pins()["learn2learn"]) == ("2.13.0", "0.28.0", "0.2.0")


def test_pins_satisfy_the_lower_bounds() -> None:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version)]

    for name, condition in requirements().items():
        assert numbers(pins()[name]) >= numbers(condition), f"{name}{condition} is pinned to {pins()[name]}"


def test_make_setup_builds_learn2learn_by_the_recipe_that_users_are_told(bootstrap: ModuleType) -> None:
    needs, build = bootstrap.LEARN2LEARN
    _, told_needs, told_build = (command.split()[2:] for command in adapter.RECIPE)
    assert set(told_needs) <= set(needs)
    assert {word.split("==")[0] for word in told_build} <= set(build)
    assert told_build[-1] == f"learn2learn=={pins()['learn2learn']}"


def test_setup_is_due_again_when_what_is_to_be_installed_changes(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"):
        (tmp_path / name).write_text("as it was")
    for name, value in (("ROOT", tmp_path), ("READY", tmp_path / "ready"), ("PYTHON", tmp_path / "python")):
        monkeypatch.setattr(bootstrap, name, value)
    (tmp_path / "python").touch()
    assert not bootstrap.is_ready()
    (tmp_path / "ready").write_text(bootstrap.fingerprint())
    assert bootstrap.is_ready()
    (tmp_path / "constraints.txt").write_text("numpy==0")
    assert not bootstrap.is_ready()
    (tmp_path / "ready").write_text(bootstrap.fingerprint())
    (tmp_path / "python").unlink()
    assert not bootstrap.is_ready()


def test_an_environment_that_was_moved_or_has_no_pip_is_made_anew(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "here")
    monkeypatch.setattr(bootstrap, "PYTHON", sys.executable)  # has pip and is new enough
    assert not bootstrap.is_usable()
    pip = tmp_path / "here" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    for elsewhere in (f"{tmp_path}/there", f"/moved/from{tmp_path}/here"):
        pip.write_text(f"#!{elsewhere}/bin/python")
        assert not bootstrap.is_usable()
    pip.write_text(f"#!{tmp_path}/here/bin/python")
    assert bootstrap.is_usable()
    monkeypatch.setattr(bootstrap, "OLDEST", (99,))
    assert not bootstrap.is_usable()
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / "here" / "bin" / "python")
    assert not bootstrap.is_usable()


def test_failed_setup_says_so_and_a_failed_learn2learn_only_warns(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = "learn2learn"
    monkeypatch.setattr(bootstrap, "is_usable", lambda: True)
    for name, value in (("READY", tmp_path / "ready"), ("LEARN2LEARN_LOG", tmp_path / "log"), ("PYTHON", "python")):
        monkeypatch.setattr(bootstrap, name, value)
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda command, **_: int(failing in command))
    monkeypatch.setattr(bootstrap, "is_ready", lambda: False)
    assert bootstrap.main() == 0
    assert "warning: no learn2learn" in capsys.readouterr().out
    assert (tmp_path / "ready").read_text() == bootstrap.fingerprint()
    failing = "--editable"
    assert bootstrap.main() == 1
    assert not (tmp_path / "ready").exists()
    assert "`make setup` goes on from here" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_without_a_target_lists_every_target() -> None:
    listing = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = [line.split()[1] for line in listing.splitlines()]
    assert listed == ["help", "setup", "run", "test", "check", "data", "leaderboard", "report", "docs", "clean"]
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert phony[1].split() == listed


def test_ci_script_is_executable_bash_that_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 == 0o111
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_wheel_holds_every_file_of_both_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    sources = {path.relative_to(ROOT).as_posix() for path in committed_files()}
    expected = {name for name in sources if name.startswith(("episodes/", "fewshot/"))}
    assert {"episodes/py.typed", "fewshot/py.typed", "fewshot/records/published_data/numbers.csv"} <= expected
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert expected - held == set()
    assert {name.split("/")[0] for name in held} == {"episodes", "fewshot"}


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed without what it needs, which is here already."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([*command, str(wheel.filename)], check=True, timeout=200)
    return target


ONE_BY_ONE = """
import sys
from fewshot.cli.main import main
for words in sys.argv[1:]:
    try:
        main(words.split())
    except SystemExit as stop:
        assert not stop.code, words
    for stream in (sys.stdout, sys.stderr):
        print(end="\f", file=stream)
"""


def test_without_a_checkout_the_records_of_the_package_are_used(installed: Path, tmp_path: Path) -> None:
    """In one process, whose start takes longer than a command."""
    words = ("compare proto matching", "reproduce snell2017-table1 --json", "leaderboard")
    command, environment = [sys.executable, "-c", ONE_BY_ONE, *words], os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    *said, _ = done.stderr.split("\f")
    assert len(said) == len(words)
    assert all("no results/runs here: the records that came with the package are used" in one for one in said)
    compared, reproduced, ranked, _ = done.stdout.split("\f")
    assert "omniglot-vinyals-28/5w1s/q15@v1\ninductive, the same 10,000" in compared
    assert '"ours": null' not in reproduced
    assert "98.92 ± 0.05" in ranked
    assert not [*tmp_path.iterdir()]


def test_beside_a_checkout_its_published_records_are_used(tmp_path: Path) -> None:
    """A terminal in another folder that knows the command of a checkout: README's commands work there, too."""
    command = [sys.executable, "-m", "fewshot", "compare", "proto", "matching"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no results/runs here: the records that came with the package are used" in done.stderr
    assert "omniglot-vinyals-28/5w1s/q15@v1" in done.stdout


def test_the_packed_records_are_the_committed_ones(
    wheel: zipfile.ZipFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packed = Path(wheel.extract("fewshot/records/published_data/records.jsonl.gz", tmp_path))
    assert packed.stat().st_size < 8_000 * len(committed())  # a record with the counts of 10,000 episodes
    monkeypatch.setattr(records_of_disk, "PACKED", packed)
    assert records_of_disk.published_runs(ROOT / "results") == ROOT / "results" / "runs"
    assert tuple(read_records([records_of_disk.published_runs(tmp_path)])) == committed()


def test_no_committed_record_names_a_folder_of_one_machine() -> None:
    assert [record.trained.checkpoint for record in committed() if record.trained.checkpoint.startswith("/")] == []


def test_the_front_page_of_the_wheel_leads_nowhere_that_is_not_there(wheel: zipfile.ZipFile) -> None:
    (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    told = wheel.read(about).decode()
    assert "Author: The fewshot-bench authors" in told
    assert "Description-Content-Type: text/markdown" in told
    assert "## Sixty seconds" in told
    assert "CITATION.cff says how to cite" in told  # a link in README.md
    assert re.findall(r"\]\((?!https?:)", told) == []


def test_with_an_address_the_front_page_leads_to_the_repository(tmp_path: Path) -> None:
    folder = copied_sources(tmp_path)
    settings = folder / "pyproject.toml"
    address = "https://example.org/us/fewshot-bench"
    settings.write_text(settings.read_text() + f'\n[project.urls]\nRepository = "{address}"\n')
    code = "import setuptools; setuptools.setup = lambda **known: print(known['long_description']); import setup"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert f"[CITATION.cff]({address}/blob/HEAD/CITATION.cff)" in done.stdout
    assert f"]({address}/raw/HEAD/results/training-styles.svg)" in done.stdout


def test_wheel_installs_the_command_and_names_no_upper_bound(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert dict(entry_points["console_scripts"]) == {"fewshot": "fewshot.__main__:main"}
    metadata = wheel.read(f"{info}/METADATA").decode()
    required = re.findall(r"^Requires-Dist: ([^;\n]+)", metadata, re.MULTILINE)
    assert len(required) == len(requirements())
    assert not [line for line in required if re.search(r"<|==|~=|learn2learn", line)]


def test_no_committed_file_names_a_package_registry_or_a_folder_of_one_machine() -> None:
    traces = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        traces += [f"{path.relative_to(ROOT)}: {found[0]}" for found in MACHINE_TRACES.finditer(text)]
    assert traces == []
