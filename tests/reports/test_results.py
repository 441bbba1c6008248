"""The generated files of results/ and the table of README.md: written all or none, checked byte for byte."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from test_damage_curve import record_of as corrupted

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.records.record import write_record
from fewshot.reports.pages.base import check_files
from fewshot.reports.results import check_results, files_of, marks, write_results
from records import measured, published

ROOT = Path(__file__).parents[2]
(START, END), (FINDINGS, END_OF_FINDINGS) = marks("leaderboard"), marks("findings")
TABLES = ["summary.md", "leaderboard.md", "leaderboard.csv", "leaderboard.html", "leaderboard.tex", "comparison.md"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Records of one's own, and a README.md with its two places."""
    (tmp_path / "README.md").write_text(
        f"before\n{START}\nold\n{END}\nbetween\n{FINDINGS}\nold\n{END_OF_FINDINGS}\nafter\n"
    )
    results = tmp_path / "results"
    published(results, measured("proto"), measured("proto", 3, recipe="paper"), measured("a_b & <c>", 1))
    write_record(corrupted("proto", 0.5, 3), results / "runs" / "corrupted.json")
    return results


def contents(results: Path) -> dict[str, bytes]:
    """What lies there, the records apart."""
    files = [path for path in results.parent.rglob("*") if path.is_file() and path.suffix != ".json"]
    return {str(path.relative_to(results.parent)): path.read_bytes() for path in files}


def test_the_committed_pages_say_what_the_committed_records_say() -> None:
    files = files_of(ROOT / "results")
    pages = [
        "damage.md",
        "damage.svg",
        "training-styles.md",
        "training-styles.svg",
        "recipes.md",
        "ablation.md",
        "open-set.md",
    ]
    assert [path.name for path in files] == [*TABLES, *pages, "README.md"]
    check_files(files, "`make leaderboard`")


def test_pages_and_readme_are_the_same_each_time_and_checked_byte_for_byte(results: Path) -> None:
    written = write_results(results)
    assert [path.name for path in written] == [
        *TABLES,
        "damage.md",
        "damage.svg",
        "recipes.md",
        "README.md",
    ]
    before = contents(results)
    assert write_results(results) == written
    assert contents(results) == before
    text = (results.parent / "README.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    (row,) = [line.split("|") for line in text.splitlines() if "| proto |" in line]
    assert row[3].strip().endswith("(98.80)"), "its paper's number"
    check_results(results)
    for path in written:
        kept = path.read_bytes()
        if path.suffix == ".svg":
            path.unlink()
        else:
            path.write_bytes(kept.replace(b"roto", b"orto"))
        with pytest.raises(UserError, match=rf"{path.name} is not what .* `make leaderboard`"):
            check_results(results)
        path.write_bytes(kept)


def test_on_a_full_disk_every_file_keeps_its_former_content(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(results)
    synced: list[int] = []
    real = os.fsync

    def full_at_the_last(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_last)
    with pytest.raises(OSError, match="No space"):
        write_results(results)
    assert contents(results) == before


@pytest.mark.parametrize(
    "half", [f"before\n{START}\nno end\n", f"no start\n{END}\n", f"{END}\nturned round\n{START}\n"]
)
def test_half_a_place_in_the_readme_is_refused_before_anything_is_written(
    half: str, fewshot: Fewshot, results: Path
) -> None:
    (results.parent / "README.md").write_text(half)
    before = contents(results)
    assert "no whole place for " in fewshot("leaderboard", "--write", "--results", results).error
    assert contents(results) == before


def test_a_readme_without_a_place_is_left_alone(results: Path) -> None:
    (results.parent / "README.md").write_text("of another project\n")
    assert "README.md" not in [path.name for path in write_results(results)]
    assert (results.parent / "README.md").read_text() == "of another project\n"
