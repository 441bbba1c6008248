"""Torchvision is imported in processes of their own: an import happens once, and half of one leaves traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fewshot.models.encoders.torchvision_import import import_torchvision

_BREAK_EXTENSION = """
import torch
def refuse(path):
    raise OSError(f"{path} was built for CUDA")
torch.ops.load_library = refuse
"""


_FORK = """
import json, os, sys, traceback
import torch  # once: what follows is a process of its own
for number, code in enumerate(json.load(sys.stdin)):
    if os.fork() == 0:
        for stream, descriptor in (("out", 1), ("err", 2)):
            os.dup2(os.open(f"{number}.{stream}", os.O_WRONLY | os.O_CREAT), descriptor)
        try:
            exec(code, {})
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.wait()
"""
_LATE = """
import sys, torch
from fewshot.models.encoders.torchvision_import import import_torchvision
print("torchvision" in sys.modules)
torchvision = import_torchvision()
from torchvision.transforms import v2
small = v2.functional.resize(torch.full((3, 105, 105), 7, dtype=torch.uint8), [28, 28])
print(tuple(small.shape), small.dtype, small.unique().tolist(), import_torchvision() is torchvision)
"""
_PLAIN = _BREAK_EXTENSION + "import torchvision"
_OURS = """
from fewshot.models.encoders.torchvision_import import import_torchvision
print(import_torchvision().models.resnet18().fc.out_features)
"""
_THERE = """
import sys, types
sys.modules["torchvision"] = types.ModuleType("torchvision")
import fewshot.models.encoders.torchvision_import as compat
module = compat.import_torchvision()
print(module is sys.modules["torchvision"], hasattr(compat.torch.ops.torchvision, "nms"))
"""
_CODES = [_LATE, _PLAIN, _BREAK_EXTENSION + _OURS, _THERE]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What each of these writes on standard output and error."""
    folder = tmp_path_factory.mktemp("imports")
    command = [sys.executable, "-W", "error", "-c", _FORK]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, input=json.dumps(_CODES), text=True, cwd=folder, env=environment, timeout=250, check=True)
    files = [
        [(folder / f"{number}.{stream}").read_text() for stream in ("out", "err")] for number in range(len(_CODES))
    ]
    return {code: (out, err) for code, (out, err) in zip(_CODES, files, strict=True)}


def test_transforms_resize_a_tensor_after_an_import_that_is_late_and_happens_once(
    said: dict[str, tuple[str, str]],
) -> None:
    out, err = said[_LATE]
    assert out.strip() == "False\n(3, 28, 28) torch.uint8 [7] True", err


def test_import_without_compiled_operators_fails_plainly_and_works_here(said: dict[str, tuple[str, str]]) -> None:
    assert "operator torchvision::nms does not exist" in said[_PLAIN][1]
    out, err = said[_BREAK_EXTENSION + _OURS]
    assert out.strip() == "1000", err


def test_nothing_is_declared_where_the_plain_import_works(said: dict[str, tuple[str, str]]) -> None:
    out, err = said[_THERE]
    assert out.strip() == "True False", err


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"{name} and PyTorch were built for different CUDA versions")

    monkeypatch.setattr("fewshot.models.encoders.torchvision_import.importlib.import_module", fail)
    import_torchvision.cache_clear()
    with pytest.raises(RuntimeError, match="different CUDA versions"):
        import_torchvision()
