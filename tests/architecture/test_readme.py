"""What README.md shows is what the program does."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fewshot.cli.main import cli
from fewshot.models.encoders.library import find_encoder
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of

README = Path(__file__).parents[2] / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_example_runs_and_prints_an_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path))
    (example,) = _blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    printed = re.fullmatch(r"(\d+\.\d\d) ± \d+\.\d\d %", capsys.readouterr().out.strip())
    assert printed is not None
    assert float(printed[1]) > 30  # chance is 20


def test_every_command_and_option_that_is_shown_exists() -> None:
    lines = [line.partition("#")[0].split() for block in _blocks("console") for line in block.splitlines()]
    shown = [words for words in lines if words[:1] == ["fewshot"]]
    assert len(shown) >= 8
    for words in shown:
        command = cli.commands[words[1]]
        known = {flag for parameter in command.params for flag in parameter.opts}
        if any(parameter.name == "model_options" for parameter in command.params):
            known |= _options_of_the_model(words)
        assert {word for word in words if word.startswith("--")} <= known, words


def _options_of_the_model(words: list[str]) -> set[str]:
    """Options of model and encoder that a command names; of relation, where it names no model but a checkpoint."""
    named = dict(itertools.pairwise(words))
    model = METHODS.get(named.get("--model", named.get("--as", "relation")))
    encoder = options_of(find_encoder(named["--encoder"])) if "--encoder" in named else {}
    return {option.flag for option in (*options_of(model).values(), *encoder.values())}


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
