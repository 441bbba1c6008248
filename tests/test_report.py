from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest
from command_line import Fewshot
from report_records import a_record, several

from episodes.errors import UserError
from fewshot.records import write_record
from fewshot.report.boards import cells_of
from fewshot.report.files import check_published, write_published
from fewshot.report.page import all_figures, render


def test_the_same_records_give_the_same_bytes_in_any_order() -> None:
    assert render(several()) == render(several()[::-1])


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = render(several())
    assert not re.findall(r"(?:https?:)?//[a-z]", page.replace("http://www.w3.org/", ""))
    assert not re.findall(r"<(?:link(?! rel=\"icon\" href=\"data:,\")|script src|img src=\"(?!data:))", page)


def test_a_page_without_records_says_how_to_make_one() -> None:
    assert "`fewshot run` makes one" in render([])
    assert all_figures([]) == []


def test_smoke_tests_are_left_out() -> None:
    assert "siamese" not in render([a_record(), a_record("siamese", recipe="smoke")])


def test_only_inductive_models_compete_for_the_short_answer() -> None:
    (cell, *_) = cells_of([a_record("proto", 0.9), a_record("soft-kmeans-proto", 0.99, uses_unlabeled=True)])
    assert [entry.name for entry in cell.ranked] == ["proto"]
    assert cell.entries[0].name == "soft-kmeans-proto"


def test_shortened_trainings_are_ranked_only_where_there_is_nothing_else() -> None:
    short = a_record("matching", 0.99, shortened=True)
    (cell,) = cells_of([a_record(), short])
    assert [entry.name for entry in cell.ranked] == ["proto"]
    (cell,) = cells_of([short])
    assert [entry.name for entry in cell.ranked] == ["matching"]


def test_seeds_of_one_training_are_one_row_of_their_mean() -> None:
    first, second = a_record("proto", 0.9, seed=0), a_record("proto", 0.8, seed=1)
    (cell,) = cells_of([first, second])
    (entry,) = cell.entries
    assert entry.seeds == "0, 1"
    assert entry.interval.mean == pytest.approx((first.accuracy + second.accuracy) / 2)


def test_rows_of_one_model_are_told_apart_by_what_differs() -> None:
    wide = a_record("proto", 0.9)
    narrow = a_record("proto", 0.8, config=wide.config | {"encoder": "resnet12"})
    longer = a_record("proto", 0.95, train_episodes=6000)
    (cell,) = cells_of([wide, narrow, longer])
    assert sorted(entry.name for entry in cell.entries) == [
        "proto, conv4", "proto, conv4, 3,000 episodes", "proto, resnet12"
    ]  # fmt: skip


def test_results_on_other_episodes_are_never_paired() -> None:
    cells = cells_of([a_record(), a_record("matching", episodes_digest="other pixels")])
    assert [len(cell.entries) for cell in cells] == [1, 1]


def test_every_figure_is_well_formed_and_has_its_own_file_name() -> None:
    figures = all_figures(several())
    assert len({figure.key for figure in figures}) == len(figures) > 15
    for figure in figures:
        root = ElementTree.fromstring(figure.whole.svg_file())
        assert root.findtext("{http://www.w3.org/2000/svg}title")
        assert "nan" not in figure.whole.svg_file()
        assert re.fullmatch(r"[\w.-]+", figure.key)


def test_a_published_page_that_is_not_what_the_records_say_is_found(tmp_path: Path) -> None:
    write_record(a_record(), tmp_path / "runs" / "first.json")
    with pytest.raises(UserError, match="make report"):
        check_published(tmp_path)
    write_published(tmp_path)
    check_published(tmp_path)
    write_record(a_record("matching"), tmp_path / "runs" / "second.json")
    with pytest.raises(UserError, match="make report"):
        check_published(tmp_path)


def test_the_command_writes_the_page_of_published_and_own_records(fewshot: Fewshot) -> None:
    write_record(a_record(), Path("results/runs/published.json"))
    write_record(a_record("matching"), Path("runs/records/own.json"))
    assert fewshot("report").status == 0
    assert "matching" in Path("runs/report.html").read_text()
    assert fewshot("report", "--write").status == 0
    assert "matching" not in Path("results/report.html").read_text()
    assert fewshot("report", "--check").status == 0


def test_single_plots_are_written_as_svg_and_png(fewshot: Fewshot) -> None:
    for index, record in enumerate((a_record(), a_record("matching", 0.9))):
        write_record(record, Path(f"results/runs/{index}.json"))
    assert fewshot("report", "--plots", "plots").status == 0
    pictures, drawings = sorted(Path("plots").glob("*.png")), sorted(Path("plots").glob("*.svg"))
    assert [path.stem for path in pictures] == [path.stem for path in drawings]
    assert len(pictures) >= 4
    assert matplotlib.image.imread(pictures[0]).std() > 0.01  # something is drawn


def test_plots_of_nothing_are_refused_in_one_line(fewshot: Fewshot) -> None:
    assert "no records were found" in fewshot("report", "--plots", "plots").error
