"""The body of hausdorff."""

from __future__ import annotations

from pathlib import Path

from fewshot.hausdorff import measure_hausdorff
from fewshot.reporting import TerminalReporter
from fewshot.run_commands import print_outcomes
from fewshot.sources import open_dataset


def hausdorff_command(size: int, data: Path | None, out: Path, as_json: bool) -> None:
    """fewshot hausdorff."""
    with TerminalReporter() as reporter:
        dataset = open_dataset("omniglot", data, "lake", reporter=reporter, size=size)
        outcome = measure_hausdorff(dataset, out, reporter)
    print_outcomes([outcome], as_json)
