"""What README.md and the pages of docs show is what the program does."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from command_line import FEW_STROKES
from episodes.datasets.cards import DATASETS
from fewshot.cli.main import cli
from fewshot.experiments.sweep.plan import known_flags
from fewshot.models.encoders.library import find_encoder
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
OF_A_PACKAGE = "medians"  # the method that a tutorial makes
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_example_runs_and_prints_an_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path))
    monkeypatch.setitem(DATASETS._entries, "strokes", FEW_STROKES)  # all 400 take ten times as long
    (example,) = _blocks(README, "python")
    exec(compile(example, "README.md", "exec"), {})
    printed = re.fullmatch(r"(\d+\.\d\d) ± \d+\.\d\d %", capsys.readouterr().out.strip())
    assert printed is not None
    assert float(printed[1]) > 30  # chance is 20


def _shown_commands(page: Path) -> list[list[str]]:
    """Those of the console blocks, and those in backticks."""
    lines = [line for block in _blocks(page, "console") for line in block.splitlines()]
    lines += [line.replace("\n", " ") for line in re.findall(r"`(fewshot [^`]+)`", page.read_text(encoding="utf-8"))]
    words = [line.partition("#")[0].split() for line in lines]
    return [line for line in words if line[:1] == ["fewshot"]]


@every_page
def test_every_command_and_option_that_is_shown_exists(page: Path) -> None:
    shown = _shown_commands(page)
    assert page != README or len(shown) >= 12
    for words in shown:
        command = cli.commands[words[1]]
        known = {flag for parameter in command.params for flag in parameter.opts}
        known |= known_flags() if words[1] == "sweep" else set()
        if any(parameter.name == "model_options" for parameter in command.params):
            known |= _options_of_the_model(words)
        assert {word for word in words if word.startswith("--")} <= known, words


def _options_of_the_model(words: list[str]) -> set[str]:
    """Options of model and encoder that a command names; of relation, where it names no model but a checkpoint."""
    named = dict(itertools.pairwise(words))
    name = named.get("--model", named.get("--as", "relation"))
    model = METHODS.get("relation" if name == OF_A_PACKAGE else name)
    encoder = options_of(find_encoder(named["--encoder"])) if "--encoder" in named else {}
    return {option.flag for option in (*options_of(model).values(), *encoder.values())}


@every_page
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if ":" not in link and not (page.parent / link).exists()] == []


def test_the_front_page_is_one_page() -> None:
    """The table and the findings, which are generated, apart."""
    text = README.read_text(encoding="utf-8")
    assert len(re.sub(r"<!-- (\w+): generated.*?\1 ends -->", "", text, flags=re.DOTALL).splitlines()) <= 120


def test_the_version_is_one_everywhere() -> None:
    versions = {
        "pyproject.toml": r'^version = "(.+)"$',
        "CITATION.cff": r"^version: (.+)$",
        "CHANGELOG.md": r"^## (\S+) ",
    }
    found = {}
    for name, pattern in versions.items():
        match = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        found[name] = match and match[1]
    assert len(set(found.values())) == 1, found


def test_the_targets_that_are_shown_exist() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake (\w+)", text)) | set(re.findall(r"`(\w+)`", text.partition("make help")[2][:200]))
    for target in targets & {"run", "test", "setup", "check", "data", "leaderboard", "clean", "help"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_help_text_is_a_sentence(command: str) -> None:
    outcome = CliRunner().invoke(cli, [command, "--help"])
    assert outcome.exit_code == 0
    assert re.search(r"\n  [A-Z][^\n]+", outcome.output)
