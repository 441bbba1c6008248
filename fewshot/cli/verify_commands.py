"""The body of verify: records measured again, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from episodes.errors import UserError
from fewshot.cli.progress import TerminalReporter
from fewshot.experiments.verify import verify
from fewshot.models.hardware import DEVICES, keep_freed_memory
from fewshot.models.options import check_choice


def verify_command(paths: Sequence[Path], results: Path, device: str, root: Path | None) -> int:
    """fewshot verify; the exit status: 0 where every number stands. Of several, what cannot be verified is named."""
    check_choice("device", device, DEVICES)
    keep_freed_memory()
    fallen = 0
    for path in paths:
        try:
            with TerminalReporter() as reporter:
                found = verify(path, results, reporter, root=root, device=device)
        except UserError as error:
            if len(paths) == 1:
                raise
            click.echo(f"record    {path}\nverdict   cannot be verified: {error}")
            fallen += 1
            continue
        click.echo(f"record    {path}")
        for line in found.lines():
            click.echo(line)
        fallen += not found.stands
    if len(paths) > 1:
        click.echo(f"{len(paths) - fallen} of {len(paths)} numbers stand")
    return 1 if fallen else 0
