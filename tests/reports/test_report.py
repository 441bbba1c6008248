from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from command_line import Fewshot
from fewshot.records.published import Published
from fewshot.records.record import write_record
from fewshot.records.schema import PretrainedEncoder
from fewshot.reports.colors import DARK, LIGHT, MUTED, SERIES, series
from fewshot.reports.html.figures import intervals, learning_curves
from fewshot.reports.html.page import all_figures, render, sections_of
from fewshot.reports.html.row_names import boards_of
from fewshot.reports.html.summary import answers_for, bar_of, verdict
from fewshot.reports.html.tables import leaderboards
from fewshot.reports.plots.charts import Estimate, Numbers, fitted, interval_chart
from fewshot.reports.plots.inline_svg import inline_svg, svg_file
from fewshot.statistics.intervals import episode_interval
from records import changed
from report_records import a_record, several

PAPER = Published(
    method="protonet",
    variant="",
    backbone="Conv4",
    dataset="omniglot",
    way=5,
    shot=1,
    accuracy=98.8,
    plus_minus=0.1,
    episodes="1000",
    protocol="",
    source="Snell et al. NeurIPS 2017",
    table="Table 1",
    kind="original",
    status="verified",
)


@pytest.fixture(scope="module")
def page() -> str:
    return render(several())


def test_the_same_records_give_the_same_bytes_in_any_order(page: str) -> None:
    assert render(several()[::-1]) == page


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    assert not re.findall(r"(?:https?:)?//[a-z]", page.replace("http://www.w3.org/", ""))
    assert not re.findall(r"<(?:link(?! rel=\"icon\" href=\"data:,\")|script src|img src=\"(?!data:))", page)


def test_a_page_without_records_says_how_to_make_one() -> None:
    assert "<code>fewshot run</code> makes one" in render([])
    assert all_figures([]) == []


def test_names_of_all_kinds_stay_text() -> None:
    page = render([a_record("<b>x</b> & $y_{"), a_record("proto", 0.9)])
    assert "<b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt; &amp; $y_{" in page


def test_smoke_tests_are_left_out() -> None:
    (board,) = boards_of([a_record(), a_record("siamese", recipe="smoke")])
    assert [row.name for row in board.rows] == ["Prototypical Networks"]


def test_the_same_question_on_other_episodes_has_another_name() -> None:
    boards = boards_of([a_record(), changed(a_record(), episode_seed=7, episodes_digest="7" * 64)])
    names = {"Omniglot, 5-way 1-shot (200 episodes)", "Omniglot, 5-way 1-shot (episode seed 7, 200 episodes)"}
    assert {board.name for board in boards} == names


def test_only_inductive_models_compete_for_the_short_answer() -> None:
    (board, *_) = boards_of([a_record("proto", 0.9), a_record("soft-kmeans-proto", 0.99, uses_unlabeled=True)])
    assert [row.name for row in board.ranked] == ["Prototypical Networks"]
    assert board.rows[0].name == "Soft k-Means"


def test_the_next_model_is_another_one_and_not_another_recipe_of_the_best() -> None:
    other_recipe = a_record("proto", 0.95, train_episodes=1000)
    (board,) = boards_of([a_record("proto", 0.96), other_recipe, a_record("relation", 0.8)])
    assert [row.first.model for row in board.ranked] == ["proto", "proto", "relation"]
    surely = answers_for(board)[1]
    assert surely.short == "Yes"
    assert "points over Relation Networks on the same episodes" in surely.long
    (alone,) = boards_of([a_record("proto", 0.96), other_recipe])
    assert answers_for(alone)[1].short == "nothing to compare"


def test_of_each_data_set_the_episodes_with_most_rows_are_open_and_the_others_on_demand() -> None:
    models = ("proto", "matching", "relation", "siamese")
    final = [a_record(model, episode_seed=9, episodes_digest="final") for model in models]
    for number, opened in ((2, 0), (4, 9)):
        records = [*(a_record(model) for model in models[:3]), *final[:number]]
        (section,) = (section for section in sections_of(records) if section.key == "leaderboard")
        first, more = ([table.title for table in found] for found in (section.tables, section.more_tables))
        assert len(first) == len(more) == 1
        assert ("seed 9" in first[0]) == (opened == 9)
        assert ("seed 9" in more[0]) == (opened == 0)


def test_shortened_trainings_answer_nothing() -> None:
    """Not even where there is nothing else: `surely better: Yes` would be said of a training that was cut short."""
    short = a_record("matching", 0.99, shortened=True)
    (board,) = boards_of([a_record(), short])
    assert [row.name for row in board.ranked] == ["Prototypical Networks"]
    assert "answer" not in {section.key for section in sections_of([short, a_record("relation", 0.8, shortened=True)])}
    (answer, *_) = sections_of([a_record(shot=5), a_record("matching", 0.99, shortened=True)])
    assert [board.name for board in answer.cards] == ["Omniglot, 5-way 5-shot (200 episodes)"]
    assert answer.tables == ()


@pytest.mark.parametrize(
    ("accuracy", "status", "ci95", "word", "tone"),
    [
        (0.95, "verified", 0.1, "below", "bad"),
        (0.95, "recalled", 0.1, "number not checked", "open"),
        (0.999, "verified", 0.1, "above", "good"),
        (0.999, "recalled", 0.1, "number not checked", "open"),
        (0.95, "verified", None, "no 95 % interval published", "open"),
        (0.988, "verified", 0.1, "matches", "good"),
    ],
)
def test_nothing_is_judged_by_a_number_that_nobody_checked(
    accuracy: float, status: str, ci95: float | None, word: str, tone: str
) -> None:
    ours = episode_interval(np.full(100, accuracy) + np.linspace(-1e-4, 1e-4, 100))
    found = verdict(ours, replace(PAPER, status=status, plus_minus=ci95))
    assert (found.word, found.tone) == (word, tone)


def test_a_card_shows_the_papers_number_only_where_it_was_read_and_is_comparable() -> None:
    (proto,) = boards_of([a_record("proto", 0.95)])
    assert bar_of(proto).paper is not None
    (fort,) = boards_of([a_record("gaussian-proto", 0.95)])
    assert fort.ranked[0].published is not None
    assert bar_of(fort).paper is None, "recalled"
    assert answers_for(fort)[2].short == "nothing to compare with"
    bar = bar_of(proto)
    assert 0 < bar.start < bar.mean < bar.start + bar.width < 100
    assert "published 98.80 %" in bar.label


def test_ones_own_images_get_the_first_card_where_encoders_from_elsewhere_compete() -> None:
    elsewhere = PretrainedEncoder(file="lite0", sha256="0", trained_on="ImageNet-1k")
    own = [
        changed(
            a_record("pretrained", accuracy, readout=readout),
            protocol="folder-photos-224/5w1s/q15@v1",
            trained={"dataset": "folder", "dataset_id": "folder-photos-224", "pretrained": elsewhere},
        )
        for readout, accuracy in (("svm", 0.8), ("cosine", 0.7))
    ]
    first, second, *_ = sections_of([a_record(), *own])
    assert (first.key, second.key) == ("own", "answer")
    assert [row.first.readout for row in first.cards[0].ranked] == ["svm", "cosine"]
    assert not any(board.is_own for board in second.cards)


def test_five_figures_are_open_and_the_rest_on_demand(page: str) -> None:
    assert page.count('<div class="one">') == 3, "without closeups there are no confused pairs and no map"
    assert page.count("<figure") > 15


def test_the_page_counts_data_sets_and_corruptions_apart() -> None:
    corrupted = [
        changed(a_record(), protocol=f"omniglot-vinyals-28-damaged-{share}/5w1s/q15@v1", episodes_digest=str(share))
        for share in (25, 50)
    ]
    page = render([a_record(), a_record(pixels="miniimagenet-ravi-84"), *corrupted])
    assert "4 records of 1 model on 2 data sets and 2 shares of corrupted images" in page


def test_seeds_of_one_training_are_one_row_of_their_mean() -> None:
    first, second = a_record("proto", 0.9, seed=0), a_record("proto", 0.8, seed=1)
    (board,) = boards_of([first, second])
    (row,) = board.rows
    assert row.seeds == (0, 1)
    assert row.interval.mean == pytest.approx((first.accuracy + second.accuracy) / 2)
    page = render([first, second, a_record("matching", 0.7)])
    assert "2 trainings (± " in page, "on the card"
    (table,) = leaderboards([*boards_of([first, second, a_record("matching", 0.7)])], ranked=True)
    place = [heading.text for heading in table.headings].index("seeds")
    assert [(line[0].text, line[place].text) for line in table.rows] == [
        ("Prototypical Networks", "2"),
        ("Matching Networks", "1"),
    ]


def test_rows_of_one_model_are_told_apart_by_what_differs() -> None:
    wide = a_record("proto", 0.9)
    narrow = changed(a_record("proto", 0.8), trained={"encoder": "resnet12"})
    longer = a_record("proto", 0.95, train_episodes=6000)
    (board,) = boards_of([wide, narrow, longer])
    names = [f"Prototypical Networks, {what}" for what in ("conv4", "conv4, 3,000 episodes", "resnet12")]
    assert sorted(row.name for row in board.rows) == names


def test_results_on_other_episodes_are_never_paired() -> None:
    boards = boards_of([a_record(), a_record("matching", episodes_digest="other images")])
    assert [len(board.rows) for board in boards] == [1, 1]


def test_every_figure_is_well_formed_and_has_its_own_file_name() -> None:
    figures = all_figures(several()[:8])
    assert len({figure.key for figure in figures}) == len(figures) > 15
    for figure in figures:
        drawing = svg_file(figure.drawing)
        root = ElementTree.fromstring(drawing)
        assert root.findtext("{http://www.w3.org/2000/svg}title")
        assert "nan" not in drawing
        assert re.fullmatch(r"[\w.-]+", figure.key)


def test_every_mark_of_a_chart_has_its_own_tooltip_and_follows_the_theme() -> None:
    rows = [Estimate(f"model {n}", 0.9 + n / 100, 0.01, SERIES[0], f"tip {n}", 0.95, f"paper {n}") for n in range(3)]
    svg = inline_svg(interval_chart(rows, "three models"), {})
    assert re.findall(r"<title>(tip \d)</title>", svg) == ["tip 0", "tip 1", "tip 2"]
    assert re.findall(r"<title>(paper \d)</title>", svg) == ["paper 0", "paper 1", "paper 2"]
    assert "var(--ink)" in svg
    assert not any(color in svg for color in LIGHT.values())


def test_the_command_writes_the_page_of_published_and_own_records(fewshot: Fewshot) -> None:
    write_record(a_record(), Path("results/runs/published.json"))
    write_record(a_record("matching"), Path("runs/records/own.json"))
    assert fewshot("report").status == 0
    assert "Matching Networks" in Path("runs/report.html").read_text()
    assert fewshot("report", "--write").status == 0
    assert "Matching Networks" not in Path("results/report.html").read_text()


def test_single_plots_are_written_as_svg_and_png(fewshot: Fewshot) -> None:
    for index, record in enumerate((a_record(), a_record("matching", 0.9))):
        write_record(record, Path(f"results/runs/{index}.json"))
    assert fewshot("report", "--plots", "plots").status == 0
    pictures, drawings = sorted(Path("plots").glob("*.png")), sorted(Path("plots").glob("*.svg"))
    assert [path.stem for path in pictures] == [path.stem for path in drawings]
    assert all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in pictures)
    assert len(pictures) >= 4
    assert matplotlib.image.imread(pictures[0]).std() > 0.01  # something is drawn


@pytest.mark.parametrize("words", [[], ["--write"], ["--file", "taken"], ["--write", "--file", "free.html"]])
def test_a_page_that_cannot_be_written_is_told_before_anything_is_drawn(fewshot: Fewshot, words: list[str]) -> None:
    write_record(a_record(), Path("results/runs/0.json"))
    if "--write" in words:
        Path("results/report.html").mkdir()
    elif words:
        Path("taken").mkdir()
    else:
        Path("runs").touch()
    assert re.search(r"cannot write .*(report\.html|taken|runs)", fewshot("report", "--plots", "plots", *words).error)
    assert not Path("plots").exists()


def test_plots_of_nothing_are_refused_in_one_line(fewshot: Fewshot) -> None:
    assert "no records were found" in fewshot("report", "--plots", "plots").error
    assert not list(Path().iterdir())  # nor an empty folder for the page


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_colors_stand_out_from_the_paper(theme: dict[str, str]) -> None:
    """WCAG 2: 4.5 for text, 3 for what is drawn."""
    for role in ("ink", "muted", "accent"):
        assert contrast(theme[role], theme["paper"]) >= 4.5
    for color in SERIES:
        assert contrast(color, theme["paper"]) >= 3


def test_series_are_told_from_each_other_by_everyone() -> None:
    """With any color vision: five that stand in one figure, and the gray of what is left; the others by their mark."""
    for view in VISION.values():
        seen = [np.asarray(view) @ linear(color) for color in SERIES]
        for group in (seen[:5], seen[5:]):
            assert min(apart(one, other) for one, other in combinations(group, 2)) >= 10
        gray = np.asarray(view) @ linear(MUTED)
        assert min(apart(seen[place], gray) for place in (0, 1, 3)) >= 7.5  # the styles of training
    looks = [series(number) for number in range(30)]
    assert len({*looks}) == 30
    assert all(len({mark for _, mark in looks[first : first + 5]}) == 1 for first in range(0, 30, 5))


# Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def apart(one: Numbers, other: Numbers) -> float:
    """Distance of two colors, in linear light, as they are seen: in OKLab, in percent (1 to 2 is just seen)."""
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones += [[0.0883024619, 0.2817188376, 0.6299787005]]
    lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    lab += [[0.0259040371, 0.7827717662, -0.8086757660]]
    first, second = (np.asarray(lab) @ np.cbrt(np.asarray(cones) @ color.clip(0, 1)) for color in (one, other))
    return 100 * float(np.linalg.norm(first - second))


def contrast(one: str, other: str) -> float:
    lights = sorted(luminance(color) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(color: str) -> float:
    return float(np.dot(linear(color), (0.2126, 0.7152, 0.0722)))


def linear(color: str) -> Numbers:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return np.array([part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts])


def test_a_name_gets_smaller_before_it_is_cut() -> None:
    long = "Relation Networks, batch-norm=train, Muon (trans)"
    for name in ("Gaussian Prototypical Networks, 120-way", long, f"{long} (not ranked)"):
        text, size = fitted(name, 162, 30)
        assert text.replace("\n", " ") == name
        assert size >= 8
        assert len(text.split("\n")) * size <= 30
    assert "…" in fitted(3 * long, 162, 30)[0]
    assert "…" in fitted(long, 162, 14)[0]


def test_a_figure_says_what_its_colors_mean() -> None:
    plain = a_record("proto", 0.9)
    (board,) = boards_of([plain, changed(a_record("relation", 0.8), transductive=True)])
    assert intervals(board).legend == ((SERIES[0], "inductive"), (SERIES[3], "transductive"))
    assert intervals(boards_of([plain])[0]).legend == ()


def test_the_axis_of_accuracies_gives_equal_room_to_halved_errors() -> None:
    rows = [Estimate("model", accuracy, 0.0, SERIES[0], "") for accuracy in (0.92, 0.96, 0.98, 0.99)]
    axes = interval_chart(rows, "a chart").axes[0]
    first, second, third, fourth = (axes.transData.transform((row.mean, 0))[0] for row in rows)
    assert second - first == pytest.approx(third - second) == pytest.approx(fourth - third)
    low, high = axes.get_xlim()
    assert len(axes.get_xticks()) >= 2
    assert all(low <= tick <= high for tick in axes.get_xticks())


def test_pictures_show_each_training_once_by_its_own_rule_however_well_a_readout_does() -> None:
    recipe = {"train_way": None, "batch_size": 256, "train_episodes": 2000}
    plain = changed(a_record("softmax", 0.9), recipe=recipe)
    other = {"cosine": a_record("softmax", 0.93), "svm": a_record("softmax", 0.8)}
    read_out = [changed(plain, readout=name, counts=record.counts) for name, record in other.items()]
    (board,) = boards_of([a_record("proto", 0.95), plain, *read_out])
    assert [row.name for row in board.rows] == [
        "Prototypical Networks",
        "Baseline (softmax) + cosine to the class mean",
        "Baseline (softmax)",
        "Baseline (softmax) + linear SVM",
    ]
    assert [row.name for row in board.drawn] == [board.rows[0].name, board.rows[2].name]
    assert intervals(board).note == "Of 4 rows each training by its method's own rule."
    (compared,) = boards_of([changed(row, transductive=True) for row in (plain, *read_out)])
    assert compared.drawn == compared.rows, "where read-outs are what is compared"
    titles = [figure.title for figure in learning_curves([board])]
    assert titles == ["Omniglot, trained for 1 shot", "Omniglot, trained on batches"]
