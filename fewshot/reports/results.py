"""results/: every generated file of it, and two places of README.md beside it; one loop writes, one loop checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from episodes.errors import UserError
from episodes.files import sole_writer
from fewshot.records.open_set import read_open_set
from fewshot.records.record import RunRecord, read_records
from fewshot.reports.leaderboard import FRONT
from fewshot.reports.leaderboard import PAGE as LEADERBOARD
from fewshot.reports.pages.ablation import ablation_files
from fewshot.reports.pages.base import Content, check_files, write_files
from fewshot.reports.pages.comparison import PAGE as COMPARISON
from fewshot.reports.pages.corruption import PAGE as CORRUPTION
from fewshot.reports.pages.open_set import open_set_files
from fewshot.reports.pages.recipe_costs import PAGE as RECIPE_COSTS
from fewshot.reports.pages.training_styles import FINDINGS
from fewshot.reports.pages.training_styles import PAGE as TRAINING_STYLES

PAGES = (LEADERBOARD, COMPARISON, CORRUPTION, TRAINING_STYLES, RECIPE_COSTS)
PLACES = {FRONT: "leaderboard", FINDINGS: "findings"}
"""What stands in README.md, and the name in the marks of its place."""


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a place of README.md."""
    return f"<!-- {name}: generated from results/runs by `make leaderboard` -->", f"<!-- {name} ends -->"


def write_results(results: Path) -> list[Path]:
    """Write every page of ``results`` and the places of README.md, all or none; the paths written."""
    with sole_writer(results):
        return write_files(files_of(results))


def check_results(results: Path) -> None:
    """Raise UserError when a file does not say what the records in ``results`` say."""
    check_files(files_of(results), "`make leaderboard`")


def files_of(results: Path, coming: Mapping[Path, RunRecord] | None = None) -> dict[Path, Content]:
    """What the files must say that are generated from the records in ``results``, and from those that are ``coming``.

    Raises UserError where README.md, beside ``results``, has one of the two marks of a place and not the other.
    """
    records = read_records([results / "runs"], coming=coming)
    pages = [
        *(page.render(records) for page in PAGES),
        ablation_files(records, results / "ablation.toml"),
        open_set_files(read_open_set(results / "open-set")),
    ]
    files = {results / name: content for page in pages for name, content in page.items()}
    parts = {name: files.pop(results / part) for part, name in PLACES.items() if results / part in files}
    return files | _readme(results.parent / "README.md", parts)


def _readme(path: Path, parts: Mapping[str, Content]) -> dict[Path, Content]:
    """README.md with its places filled; nothing where there is no such file or no place in it."""
    before = text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for name, part in parts.items():
        start, end = marks(name)
        if start in text and end in text.partition(start)[2]:
            head, _, rest = text.partition(start)
            text = f"{head}{start}\n\n{part}\n{end}{rest.partition(end)[2]}"
        elif start in text or end in text:
            raise UserError(f"{path} has no whole place for {name}: it stands between the lines {start} and {end}")
    return {path: text} if any(marks(name)[0] in before for name in parts) else {}
