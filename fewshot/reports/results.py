"""results/: every generated file of it, and the table of README.md beside it; one loop writes, one loop checks."""

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
from fewshot.reports.pages.training_styles import PAGE as TRAINING_STYLES

PAGES = (LEADERBOARD, COMPARISON, CORRUPTION, TRAINING_STYLES, RECIPE_COSTS)
START, END = "<!-- leaderboard: generated from results/runs by `make leaderboard` -->", "<!-- leaderboard ends -->"


def write_results(results: Path) -> list[Path]:
    """Write every page of ``results`` and the table of README.md, all or none; the paths written."""
    with sole_writer(results):
        return write_files(files_of(results))


def check_results(results: Path) -> None:
    """Raise UserError when a file does not say what the records in ``results`` say."""
    check_files(files_of(results), "`make leaderboard`")


def files_of(results: Path, coming: Mapping[Path, RunRecord] | None = None) -> dict[Path, Content]:
    """What the files must say that are generated from the records in ``results``, and from those that are ``coming``.

    Raises UserError where README.md, beside ``results``, has one of the two marks of its table and not the other.
    """
    readme = readme_parts(results.parent / "README.md")
    records = read_records([results / "runs"], coming=coming)
    pages = [
        *(page.render(records) for page in PAGES),
        ablation_files(records, results / "ablation.toml"),
        open_set_files(read_open_set(results / "open-set")),
    ]
    files = {results / name: content for page in pages for name, content in page.items()}
    front = files.pop(results / FRONT, None)
    if readme is not None and front is not None:
        before, after = readme
        files[results.parent / "README.md"] = f"{before}{START}\n\n{front}\n{END}{after}"
    return files


def readme_parts(path: Path) -> tuple[str, str] | None:
    """What stands before and after the table; None where there is no such file or no place in it for a table."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if start and end:
        return before, after
    if start or END in text:
        raise UserError(f"{path} has no whole place for the table: it stands between the lines {START} and {END}")
    return None
