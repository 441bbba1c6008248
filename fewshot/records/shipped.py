"""The published records inside an installed package, for whoever has no checkout: setup.py packs them."""

from __future__ import annotations

from pathlib import Path

PACKED = Path(__file__).parent / "published_data" / "records.jsonl.gz"


def published_runs(results: Path) -> Path:
    """Where ``read_records`` finds what was published: ``results/runs``, or what came with the package without it."""
    runs = results / "runs"
    return PACKED if PACKED.is_file() and not runs.is_dir() else runs
