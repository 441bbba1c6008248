from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from command_line import Fewshot
from fewshot.records.record import write_record
from fewshot.reports.charts.canvas import DARK, LIGHT
from fewshot.reports.charts.charts import SERIES
from fewshot.reports.charts.scales import Scale
from fewshot.reports.html.figures import intervals, learning_curves
from fewshot.reports.html.page import all_figures, render
from fewshot.reports.html.row_names import cells_of
from fewshot.reports.html.summary import answers_for
from records import changed
from report_records import a_record, several


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


def test_the_next_model_is_another_one_and_not_another_recipe_of_the_best() -> None:
    other_recipe = a_record("proto", 0.95, train_episodes=1000)
    (cell,) = cells_of([a_record("proto", 0.96), other_recipe, a_record("relation", 0.8)])
    assert [entry.record.model for entry in cell.ranked] == ["proto", "proto", "relation"]
    surely = answers_for(cell)[1]
    assert surely.short == "Yes"
    assert "points over relation on the same episodes" in surely.long
    (alone,) = cells_of([a_record("proto", 0.96), other_recipe])
    assert answers_for(alone)[1].short == "nothing to compare"


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
    narrow = a_record("proto", 0.8, trained={"encoder": "resnet12"})
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


def test_the_command_writes_the_page_of_published_and_own_records(fewshot: Fewshot) -> None:
    write_record(a_record(), Path("results/runs/published.json"))
    write_record(a_record("matching"), Path("runs/records/own.json"))
    assert fewshot("report").status == 0
    assert "matching" in Path("runs/report.html").read_text()
    assert fewshot("report", "--write").status == 0
    assert "matching" not in Path("results/report.html").read_text()


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


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_colors_stand_out_from_the_paper(theme: dict[str, str]) -> None:
    """WCAG 2: 4.5 for text, 3 for what is drawn."""
    for role in ("ink", "muted", "accent"):
        assert contrast(theme[role], theme["paper"]) >= 4.5
    for color in SERIES:
        assert contrast(color, theme["paper"]) >= 3


def contrast(one: str, other: str) -> float:
    lights = sorted(luminance(color) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_axis_of_accuracies_gives_equal_room_to_halved_errors() -> None:
    scale = Scale(0.9, 0.999, 0, 100, "errors")
    assert scale(0.96) - scale(0.92) == pytest.approx(scale(0.99) - scale(0.98))
    assert len(scale.ticks()) >= 3
    assert all(0.9 <= tick <= 0.999 for tick in scale.ticks())


def test_pictures_show_each_training_once_with_its_best_readout() -> None:
    recipe = {"train_way": None, "batch_size": 256, "train_episodes": 2000}
    plain = a_record("softmax", 0.9)
    softmax = [
        changed(plain, recipe=recipe, readout=readout, correct=counted.correct)
        for readout, counted in (("", plain), ("cosine", a_record("softmax", 0.93)), ("svm", a_record("softmax", 0.8)))
    ]
    (cell,) = cells_of([a_record("proto", 0.95), *softmax])
    assert [entry.name for entry in cell.entries] == ["proto", "softmax + cosine", "softmax", "softmax + svm"]
    assert [entry.name for entry in cell.best_readouts] == ["proto", "softmax + cosine"]
    assert intervals(cell).note == "Of 4 rows the best read-out of each training."
    titles = {figure.title: len(figure.panels) for figure in learning_curves([cell])}
    assert titles == {"Omniglot, trained for 1 shot": 1, "Omniglot, trained on batches": 1}
