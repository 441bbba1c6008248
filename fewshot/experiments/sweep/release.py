"""What has to be the same at a driver and at its workers: this package, its sources, PyTorch."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from functools import cache
from pathlib import Path

from episodes.errors import UserError
from fewshot.records.provenance import versions


@cache
def release() -> str:
    """Version and sources of this package, and PyTorch, in a line."""
    sha = hashlib.sha256()
    for package in ("episodes", "fewshot"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for path in sorted(path for end in ("*.py", "*.toml") for path in folder.rglob(end)):
            sha.update(f"{path.relative_to(folder)} ".encode() + path.read_bytes())
    found = versions()
    return f"fewshot-bench {found['fewshot-bench']} (sources {sha.hexdigest()[:12]}) with torch {found['torch']}"


def check_release(wanted: str) -> None:
    """Raises UserError, which names both, where this worker has not what the driver has."""
    if release() != wanted:
        raise UserError(f"{platform.node()} has {release()}, and this sweep is of {wanted}: install the same on both")
