"""A package as pip would install it: modules beside a dist-info folder with its name, version and entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, sources: Mapping[str, str], entry_points: Mapping[str, str]) -> None:
    """``sources`` are modules and their text; ``entry_points`` a group and its lines. ``folder`` goes onto the path."""
    folder.mkdir(exist_ok=True)
    for module, text in sources.items():
        (folder / f"{module}.py").write_text(text)
    about = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = [line for group, points in entry_points.items() for line in (f"[{group}]", points)]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
