"""--compile: the same training through PyTorch's compiler, told apart by its identity."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import SMOKE, Fewshot
from episodes.errors import UserError
from fewshot.training import step as steps
from made_once import made_once
from toy_classes import QUICK
from toy_training import trained

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # PyTorch's own, as it compiles
compiler = torch.compile
COMPILED = ("proto", "relation", "gaussian-proto", "masked-proto", "softmax", "center", "gan")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Of each model, how far loss and gradient of the compiled step are from the plain ones, relative to their size.

    And how many graphs were compiled. With a C++ compiler also of a ``training``. In a process of its own: the checks
    of shapes that the tests put around every function do not compile.
    """
    code = Path(__file__).parents[1] / "helpers" / "compiled_steps.py"
    has_compiler = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    names = (*(["training"] if has_compiler else []), *COMPILED)

    def compare() -> str:
        done = subprocess.run([sys.executable, code, *names], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    found: dict[str, list[float]] = json.loads(made_once(tmp_path_factory, "compared.json", compare).read_text())
    return found


@pytest.mark.parametrize("name", COMPILED)
def test_methods_of_every_kind_can_be_compiled(name: str, compared: dict[str, list[float]]) -> None:
    of_loss, of_gradient, graphs = compared[name]
    assert graphs >= 1
    assert of_loss < 1e-4
    assert of_gradient < 1e-2


def test_a_training_through_the_whole_compiler_is_the_plain_one_but_for_rounding(
    compared: dict[str, list[float]],
) -> None:
    if "training" not in compared:
        pytest.skip("needs a C++ compiler")
    of_loss, of_weights = compared["training"]
    assert of_loss < 1e-5
    assert of_weights < 1e-5


def test_a_compiler_that_fails_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    broken = functools.partial(compiler, backend=no_compiler)
    monkeypatch.setattr(torch, "compile", lambda function, **options: broken(function))
    monkeypatch.setattr(steps, "loss_of", lambda method, batch, turns: batch.query.float().mean() * 0)
    with pytest.raises(UserError, match=r"cannot be compiled here .*leave out --compile") as error:
        trained(QUICK, compiled=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["anil", "untrained"])
def test_what_cannot_be_compiled_is_refused_in_one_line(model: str, fewshot: Fewshot) -> None:
    assert "leave out --compile" in fewshot(*SMOKE, "--compile", "--model", model).error


def test_a_compiled_training_is_one_of_its_own(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither takes a plain training for its own nor is taken for one."""
    compiled: list[dict[str, Any]] = []

    def not_at_all(function: Any, **options: Any) -> Any:
        compiled.append(options)
        return function

    monkeypatch.setattr(torch, "compile", not_at_all)
    plain = fewshot(*SMOKE, "--out", str(tmp_path))
    again = fewshot(*SMOKE, "--out", str(tmp_path), "--compile")
    assert plain.status == again.status == 0
    assert "already trained" not in again.err
    assert [options["dynamic"] for options in compiled] == [False]
    assert len([*tmp_path.glob("checkpoints/*")]) == 2
