"""What is dear to make is made once in a run of the tests, by whichever of its processes comes first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[], str]) -> Path:
    """The file of that name in a folder that all processes of this run share; the first to ask writes it."""
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_text(make(), encoding="utf-8")
            part.replace(path)
    return path
