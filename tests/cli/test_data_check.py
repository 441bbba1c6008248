"""fewshot data check: a line for each kind, at most 20, and the rest in a file that is named."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from command_line import Fewshot
from episodes.datasets.omniglot.dataset import characters
from photo_builders import save_classes


def test_thousands_of_missing_drawings_are_one_line_and_a_file(fewshot: Fewshot) -> None:
    first = Path("data/omniglot-py") / characters()[0].file(1)
    first.parent.mkdir(parents=True)
    (Path("data/omniglot-py") / "images_evaluation").mkdir()
    Image.new("1", (105, 105)).save(first)
    outcome = fewshot("data", "check", "omniglot")
    assert outcome.status == 2
    (line,) = outcome.out.splitlines()
    assert re.fullmatch(r"32459 of 32460 drawings in .* are missing: (\S+, ){4}\S+ and 32454 more", line)
    assert (
        "1 kind(s) of problems found, all named in omniglot-vinyals-28-problems.txt; run `fewshot data get"
        in outcome.err
    )
    assert len(Path("omniglot-vinyals-28-problems.txt").read_text().splitlines()) == 32460


def test_a_folder_in_order_is_told_with_what_it_allows(fewshot: Fewshot) -> None:
    save_classes(Path("photos"), {f"c{c}": 3 + (c != 1) for c in range(3)})
    outcome = fewshot("data", "check", "photos")
    assert outcome.out.splitlines() == [
        "photos: everything is in order",
        "3 test classes, 3 to 4 images each: up to 3-way. 1 shot leaves up to 2 queries per class, 5 shots need 3 more "
        "in 'c1'.",
        "All classes are for the test (3 classes, 15 are the limit): --split random divides them.",
    ]


def test_a_folder_that_cannot_be_read_is_one_problem(fewshot: Fewshot) -> None:
    Path("loose").mkdir()
    outcome = fewshot("data", "check", "loose")
    assert "loose holds no folder with images" in outcome.out
    assert outcome.err == "fewshot: loose: 1 kind(s) of problems found; mend what is named, or take it out\n"


def test_a_line_that_says_all_leaves_no_file(fewshot: Fewshot) -> None:
    save_classes(Path("photos"), {"a": 2, "b": 2})
    Path("photos/a/bad.png").write_bytes(b"no picture")
    outcome = fewshot("data", "check", "photos")
    assert outcome.out.splitlines() == ["1 undecodable image: a/bad.png (no known image format)"]
    assert [*Path().glob("*problems*")] == []
