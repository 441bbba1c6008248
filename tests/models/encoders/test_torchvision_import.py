"""Each test imports torchvision in a process of its own: an import happens once, and half of one leaves traces."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from fewshot.models.encoders.torchvision_import import import_torchvision

_BREAK_EXTENSION = """
import torch
def refuse(path):
    raise OSError(f"{path} was built for CUDA")
torch.ops.load_library = refuse
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_transforms_resize_a_tensor_after_an_import_that_is_late_and_happens_once() -> None:
    done = run_python("""
        import sys, torch
        from fewshot.models.encoders.torchvision_import import import_torchvision
        print("torchvision" in sys.modules)
        torchvision = import_torchvision()
        from torchvision.transforms import v2
        small = v2.functional.resize(torch.full((3, 105, 105), 7, dtype=torch.uint8), [28, 28])
        print(tuple(small.shape), small.dtype, small.unique().tolist(), import_torchvision() is torchvision)
    """)
    assert done.stdout.strip() == "False\n(3, 28, 28) torch.uint8 [7] True", done.stderr


def test_import_without_compiled_operators_fails_plainly_and_works_here() -> None:
    plain = run_python(_BREAK_EXTENSION + "import torchvision")
    assert "operator torchvision::nms does not exist" in plain.stderr
    done = run_python(
        _BREAK_EXTENSION
        + "from fewshot.models.encoders.torchvision_import import import_torchvision\n"
        + "print(import_torchvision().models.resnet18().fc.out_features)"
    )
    assert done.stdout.strip() == "1000", done.stderr


def test_nothing_is_declared_where_the_plain_import_works() -> None:
    done = run_python("""
        import sys, types
        sys.modules["torchvision"] = types.ModuleType("torchvision")
        import fewshot.models.encoders.torchvision_import as compat
        module = compat.import_torchvision()
        print(module is sys.modules["torchvision"], hasattr(compat.torch.ops.torchvision, "nms"))
    """)
    assert done.stdout.strip() == "True False", done.stderr


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"{name} and PyTorch were built for different CUDA versions")

    monkeypatch.setattr("fewshot.models.encoders.torchvision_import.importlib.import_module", fail)
    import_torchvision.cache_clear()
    with pytest.raises(RuntimeError, match="different CUDA versions"):
        import_torchvision()
