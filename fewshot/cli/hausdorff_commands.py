"""The body of hausdorff."""

from __future__ import annotations

from pathlib import Path

from episodes.datasets.opening import open_dataset
from fewshot.cli.progress import TerminalReporter
from fewshot.cli.run_commands import print_outcomes
from fewshot.experiments.hausdorff import measure_hausdorff


def hausdorff_command(size: int, data: Path | None, out: Path, as_json: bool) -> None:
    """fewshot hausdorff."""
    with TerminalReporter() as reporter:
        dataset = open_dataset("omniglot", data, "lake", reporter=reporter, size=size)
        outcome = measure_hausdorff(dataset, out, reporter)
    print_outcomes([outcome], as_json)
