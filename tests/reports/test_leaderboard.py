from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace
from rich.console import Console

from command_line import Fewshot
from fewshot.cli.output import stacked_tables
from fewshot.records.ranking import missing, ranked_rows
from fewshot.records.record import RunRecord
from fewshot.records.schema import Cost
from fewshot.reports import frame as frames
from fewshot.reports.frame import Column, accuracy_words, frame_of, leaderboard_frame
from fewshot.reports.leaderboard import PAGE, front, headline, overview, unranked
from fewshot.reports.rendering import render as filled
from records import changed, committed, committed_rows, measured, published


def rows_of(table: str, word: str) -> list[list[str]]:
    """The cells of the Markdown rows that hold a word."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if word in line]


def page(form: str, *records: RunRecord) -> str:
    return str(PAGE.render(records)[f"leaderboard.{form}"])


def render(records: Iterable[RunRecord], *, smoke: bool = False) -> str:
    """The tables of the terminal."""
    frame = leaderboard_frame(records, smoke=smoke)
    return filled("sections.md", sections=[*overview(frame), *unranked(frame)])


def csv_rows(*records: RunRecord) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(page("csv", *records))))


TRAINED_FOR_A_MINUTE = Cost(training_seconds=61.0, test_seconds=1.0)


def with_config(record: RunRecord, **changes: Any) -> RunRecord:
    return changed(record, **changes)


def test_a_row_holds_the_cells_of_one_configuration_with_its_ranks() -> None:
    table = render([measured("proto", 0), measured("proto", 0, shot=5), measured("relation", 5)])
    heads, *_ = rows_of(table, "| model |")
    assert heads == ["model", "readout", "encoder", "recipe", "trainings", "5-way 1-shot", "5-way 5-shot"]
    (row,) = rows_of(table, "| proto |")
    assert row[:5] == ["proto", "its own", "conv4", "fast: 60-way", "1 seed"]
    assert row[5].endswith("(2)")
    assert row[6].startswith("**")
    assert row[6].endswith("(1)**"), "bold: nobody is surely better"


def test_rows_are_sorted_by_accuracy_and_those_that_no_test_separates_share_ranks() -> None:
    names = ("worst", "twin", "other-twin")
    table = render([measured(name, extra) for name, extra in zip(names, (0, 4, 4), strict=True)])
    rows = [row for row in rows_of(table, "fast") if row[0] in names]
    assert [row[5].rpartition("(")[2].strip("*)") for row in rows] == ["1–2", "1–2", "3"]
    assert rows[-1][0] == "worst"
    assert all(row[5].startswith("**") for row in rows[:2])


def test_other_images_under_the_same_name_are_a_table_of_their_own() -> None:
    other = measured("proto", 9, episodes_digest="f" * 64)
    text = render([measured("proto", 0), measured("relation", 5), other, measured("proto", 0, shot=5)])
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Omniglot (200 episodes)",
        "## Omniglot (200 episodes, other images under the same name, digest ffffffff)",
    ]
    first, _, second = text.partition("other images under")
    assert len(rows_of(first, "| proto |")) == 1
    assert len(rows_of(second, "| proto |")) == 1
    assert rows_of(second, "| relation |") == []


def test_nothing_of_a_record_is_markup_or_a_link_or_the_end_of_the_table() -> None:
    odd = "<b>x</b> <!-- leaderboard ends --> [a](http://b.c) https://b.c www.b.c ~~x~~ \u202e"
    _, _, table = page("md", measured("proto", 0, trained={"model_options": {"way": odd}})).partition("\n## ")
    for markup in ("<b>", "<!--", "](", "://b", "www.b", "~~x", "\u202e"):
        assert markup not in table.replace("\\<", "&lt;").replace("\\[", "(").replace("\\]", ")"), markup


def test_seeds_are_one_row_with_their_number_and_interval() -> None:
    records = [measured("proto", seed, seed=seed) for seed in range(3)]
    (row,) = csv_rows(*records)
    assert row["seeds"] == "3"
    ci95, of_seeds, of_episodes = (float(row[name]) for name in ("ci95", "ci95_seeds", "ci95_episodes"))
    assert ci95 == pytest.approx(math.hypot(of_seeds, of_episodes), abs=1e-4)
    assert "another training seed and another draw of episodes" in row["interval_covers"]
    (alone,) = csv_rows(records[0])
    assert (alone["seeds"], alone["ci95_seeds"], alone["ci95"]) == ("1", "", alone["ci95_episodes"])
    assert "not another training" in alone["interval_covers"]
    line, *_ = rows_of(page("md", *records), "| proto |")
    half_widths = f"± {float(row['ci95']):.2f} ± {float(row['ci95_classes']):.2f}"
    assert line[4:6] == ["3 seeds", f"**{float(row['accuracy']):.2f} {half_widths} (1)**"]


def test_smoke_tests_are_left_out_and_ranked_only_among_themselves() -> None:
    smoke, real = measured("proto", recipe="smoke"), measured("relation")
    assert "No records yet" in render([smoke])
    assert "proto" not in render([smoke, real])
    alone = render([smoke, real], smoke=True)
    assert "| proto |" in alone
    assert "relation" not in alone


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"shortened": True}, "Not ranked: shortened training"),
        ({"protocol": "omniglot-vinyals-28-damaged-75/5w1s/q15@v1"}, "Not ranked: damaged images"),
        ({"protocol": "omniglot-vinyals-28/5w1s/q15@v0"}, "Not ranked: older version of the protocol"),
    ],
)
def test_what_is_no_plain_result_stands_apart_and_moves_no_rank(changes: dict[str, Any], title: str) -> None:
    other = measured("relation", 9, **changes)
    if other.shortened:
        other = with_config(other, recipe={"train_way": 60, "train_episodes": 10})
    ranked, heading, apart = render([measured("proto"), other]).partition(f"## {title}\n")
    assert heading
    assert "(1)**" in ranked
    assert "relation" not in ranked
    assert "| relation |" in apart


@pytest.mark.parametrize(
    ("flags", "block"),
    [
        ({"transductive": True}, "Transductive"),
        ({"uses_unlabeled": True}, "Semi-supervised"),
        ({"self_supervised": True}, "Self-supervised"),
    ],
)
def test_rows_that_are_not_comparable_stand_in_a_table_of_their_own(flags: dict[str, bool], block: str) -> None:
    table = render([measured("proto"), measured("relation", 9, **flags)])
    inductive, _, other = table.partition(f"{block}: ")
    assert "| relation |" not in inductive
    assert "(1)**" in inductive
    assert "| relation |" in other


def test_a_readout_of_frozen_embeddings_is_an_inductive_row_that_shows_it_and_is_held_against_no_paper() -> None:
    standing, own = ranked_rows([measured("proto", 5, readout="logistic regression"), measured("proto")])
    assert standing.setting == "inductive"
    assert standing.target is None
    assert own.target is not None
    assert rows_of(render([standing.entry.first]), "| proto |")[0][1] == "logistic regression"


def test_the_headline_shows_the_row_that_stands_beside_the_papers_number_before_a_better_readout() -> None:
    better_readout, own = measured("proto", 5, readout="logistic regression"), measured("proto")
    both = leaderboard_frame([better_readout, own])
    assert both["readout"].tolist() == ["logistic regression", ""], "best first"
    for frame, shown in ((both, both.iloc[1]), (both[:1], both.iloc[0])):
        (row,) = rows_of(filled("sections.md", sections=headline(frame)), "| proto |")
        assert row[1] == "1 seed"
        assert f"{accuracy_words(shown)} ± {shown.ci95_classes:.2f}" in row[2], "over classes, beside it"


def test_a_row_whose_weights_were_not_kept_says_so_in_every_table() -> None:
    gone, kept = measured("gan", notes=["Committed without its weights."]), measured("proto")
    frame = leaderboard_frame([gone, kept])
    assert frame.set_index("model")["without_weights"].to_dict() == {"gan": True, "proto": False}
    text = page("md", gone, kept) + filled("sections.md", sections=headline(frame))
    assert text.count("| gan (weights not kept) |") == 2
    assert "proto (weights" not in text


def test_one_row_of_the_overview_holds_trainings_of_another_shot_and_the_details_tell() -> None:
    one = with_config(measured("proto"), recipe={"train_way": 60, "train_shot": 1, "train_episodes": 3000})
    five = with_config(measured("proto", shot=5), recipe={"train_way": 60, "train_shot": 1, "train_episodes": 3000})
    (row,) = rows_of(render([one, five]), "| proto |")
    assert row[3] == "fast: 60-way"
    assert all(row[5:7])
    schedules = [standing.entry.schedule for standing in ranked_rows([one, five])]
    assert schedules == ["fast: 60-way, 3,000 episodes", "fast: 60-way 1-shot, 3,000 episodes"]
    batches = with_config(measured("supcon"), recipe={"train_way": None, "batch_size": 256, "train_episodes": 4000})
    assert ranked_rows([batches])[0].entry.schedule == "fast: batches of 256, 4,000 batches"


def test_what_was_trained_on_other_images_names_them() -> None:
    other = with_config(measured("proto"), trained={"dataset_id": "strokes-standard-28"})
    (row,) = rows_of(render([other]), "| proto |")
    assert row[4] == "fast: 60-way, 3,000 episodes, on Strokes (drawn by the program)"


def test_trainings_of_different_length_are_told_apart_and_the_overview_shows_the_best() -> None:
    short, long = (
        with_config(measured("proto", extra), recipe={"train_way": 60, "train_episodes": episodes})
        for extra, episodes in ((0, 3000), (5, 6000))
    )
    (row,) = rows_of(render([short, long]), "| proto |")
    assert row[5].endswith("(1)**")
    assert [line["training"] for line in csv_rows(short, long)] == [
        "fast: 60-way, 6,000 episodes",
        "fast: 60-way, 3,000 episodes",
    ]


def test_the_csv_holds_what_the_tables_say_and_more() -> None:
    rows = csv_rows(measured("proto", cost=TRAINED_FOR_A_MINUTE), measured("relation", shortened=True))
    wanted = (
        "model dataset protocol way shot query readout recipe accuracy ci95 episodes seeds transductive unlabeled "
        "parameters train_seconds published source"
    )
    assert set(wanted.split()) <= set(rows[0])
    proto, relation = rows
    assert (proto["dataset"], proto["way"], proto["shot"], proto["query"]) == ("omniglot-vinyals-28", "5", "1", "15")
    assert (proto["published"], proto["source"]) == ("98.80", "Snell et al. NeurIPS 2017, Table 1")
    assert float(proto["gap"]) == pytest.approx(float(proto["accuracy"]) - 98.8, abs=1e-4)
    assert (proto["train_seconds"], proto["rank"]) == ("61.0", "1")
    assert 300 < int(proto["classes"]) <= 423, "characters that 200 episodes drew"
    assert float(proto["low"]) < float(proto["accuracy"]) < float(proto["high"])
    assert (relation["rank"], relation["not_ranked_because"]) == ("", "shortened training")


@pytest.mark.parametrize("better_on_test", [0, 9])
def test_what_validates_best_is_shown_whatever_the_test_says(better_on_test: int) -> None:
    def row_of(scale: float, extra: int, val: float) -> RunRecord:
        record = measured("matching", extra, trained={"model_options": {"scale": scale}})
        return replace(record, history=replace(record.history, val_accuracy=val))

    records = [row_of(1.0, better_on_test, 0.7), row_of(10.0, 9 - better_on_test, 0.8)]
    frame = leaderboard_frame(records)
    chosen = frame[frame["options"] == "scale=10.0"]["accuracy"].item()
    (section,) = headline(frame)
    assert section.table is not None
    assert section.table["5-way 1-shot"].item().lstrip("*").startswith(f"{chosen:.2f}")


def test_a_row_is_of_one_read_out_in_all_its_cells_and_of_its_own_before_others() -> None:
    cells = [(shot, readout) for shot in (1, 5) for readout in ("", "simpleshot")]
    frame = leaderboard_frame(
        [measured("softmax", len(readout), shot=shot, readout=readout) for shot, readout in cells]
    )
    own = frame[frame["readout"] == ""].sort_values("shot")["accuracy"]
    (section,) = headline(frame)
    assert section.table is not None
    for shot, accuracy in zip((1, 5), own, strict=True):
        assert section.table[f"5-way {shot}-shot"].item().startswith(f"{accuracy:.2f}")


def test_one_entry_adds_a_column_to_every_format(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wherever: Any = ("overview", "unranked", "paper", "page")
    column = Column("flops", lambda row: 7 * row.way_shot[0], "Int64", heading="FLOPs", tables=wherever)
    monkeypatch.setattr(frames, "COLUMNS", [*frames.COLUMNS, column])
    records = [measured("proto"), measured("relation", shortened=True)]
    assert leaderboard_frame(records)["flops"].tolist() == [35, 35]
    assert [row["flops"] for row in csv_rows(*records)] == ["35", "35"]
    made = {name: str(text) for name, text in PAGE.render(records).items()}
    for form, head, times in (("md", "FLOPs |", 2), ("html", ">FLOPs</button>", 1), ("tex", "& {FLOPs} &", 1)):
        assert made[f"leaderboard.{form}"].count(head) == times, form
        assert made[f"leaderboard.{form}"].count("35") >= times, form
    published(tmp_path, *records)
    assert "its own, conv4, fast: 60-way, 35, 1 seed" in fewshot("leaderboard", "--results", tmp_path).out
    assert [row["flops"] for row in json.loads(fewshot("leaderboard", "--json", "--results", tmp_path).out)] == [35, 35]
    assert fewshot("leaderboard", "--csv", "--results", tmp_path).out == made["leaderboard.csv"]


@pytest.mark.parametrize("width", [30, 50, 80, 160])
def test_the_terminal_breaks_no_number_at_any_width(width: int) -> None:
    names = ("siamese-contrastive", "a[b]", "c")
    records = [measured(name, place, shot=shot) for place, name in enumerate(names) for shot in (1, 5)]
    (section,) = [found for found in overview(leaderboard_frame(records)) if found.table is not None]
    assert section.table is not None
    tables = stacked_tables(section.table, section.numbers, width)
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    cells = section.table[sorted(section.numbers)].to_numpy().ravel()
    assert sorted(re.findall(r"\d\d\.\d\d ± \d\.\d\d ± \d\.\d\d", text)) == sorted(
        cell.split(" (")[0] for cell in cells
    )
    assert len(tables) == (1 if width >= 80 else 2)
    assert "a[b]" in text, "no markup"


def test_names_are_escaped_for_their_format() -> None:
    records = [measured("=1+2", 3), measured("a|b *c*")]
    assert [row["model"] for row in csv_rows(*records)] == ["'=1+2", "a|b *c*"]
    assert float(csv_rows(measured("proto", -9))[0]["gap"]) < 0, "a number is no formula"
    assert r"| a\|b \*c\* |" in page("md", *records)


def test_cells_that_a_paper_has_and_the_records_lack_are_named() -> None:
    lacking = missing(ranked_rows([measured("proto"), measured("mine", shot=5), measured("relation", shortened=True)]))
    cells = lacking["omniglot-vinyals-28"]
    assert cells["proto"] == [(5, 5), (20, 1), (20, 5)]
    assert cells["mine"] == [(5, 1), (20, 1), (20, 5)]
    assert (5, 1) in cells["relation"], "a shortened training fills no cell"
    assert lacking["miniimagenet-ravi-84"]["proto"] == [(5, 1), (5, 5)]


def test_html_and_tex_escape_what_would_be_markup() -> None:
    html, tex = (page(form, measured("a_b & <c>", 1)) for form in ("html", "tex"))
    assert "a_b &amp; &lt;c&gt;" in html
    assert "<c>" not in html
    assert r"a\_b \& $<$c$>$" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    assert r" \pm " in tex
    assert "http" not in html, "the page needs no network"


@pytest.mark.slow
def test_every_model_is_trained_and_ranked_on_the_spot_with_one_line_each(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fewshot.models.methods import METHODS

    three = {name: METHODS.get(name) for name in METHODS if name in ("masked-proto", "proto", "siamese")}
    monkeypatch.setattr(METHODS, "_entries", three)
    outcome = fewshot("leaderboard", "--dataset", "strokes", "--episodes", "20")
    assert outcome.status == 0, outcome.err
    lines = [line for line in outcome.err.splitlines() if "/3 " in line]
    assert [line.split()[1] for line in lines] == ["masked-proto", "proto", "siamese"]
    assert "s left" in lines[0]
    assert "(20 episodes)" in outcome.out
    assert "Semi-supervised" in outcome.out
    assert not Path("results").exists()
    again = fewshot("leaderboard", "--dataset", "strokes", "--episodes", "20")
    assert again.out == outcome.out, "what is finished is not trained again"


def test_the_headline_leaves_a_table_of_one_row_to_the_leaderboard_unless_its_images_have_no_other() -> None:
    text = filled("sections.md", sections=headline(frame_of(committed_rows())))
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert "## Omniglot" in titles
    assert "## Omniglot (5 unlabeled a class, 14 queries a class)" in titles, "several rows"
    lake = "## Omniglot, Lake's alphabets, 105 pixels (20 published episodes)"
    assert lake in titles, "the only table of these images"
    assert "## Omniglot (14 queries a class)" not in titles, "one row"
    assert "## Omniglot (1 query a class)" in titles, "one row, of a paper's own test"


def test_the_page_shows_each_setting_once_and_other_tests_and_long_tails_on_demand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fewshot.reports.leaderboard.ranked_rows", lambda _: committed_rows())
    text = page("md", *committed())
    shown, _, folded = text.partition("## Other tests")
    assert re.search(r"<details><summary>\d+ more</summary>\n\n\| model \|", shown)
    assert "## Omniglot (5 queries a class)" not in text
    assert "<details><summary>Omniglot (5 queries a class), transductive</summary>\n\n| model |" in folded
    assert text.count("<details>") == text.count("</details>")


def test_the_front_table_holds_the_six_best_methods_with_all_their_cells_side_by_side() -> None:
    table = front(frame_of(committed_rows())).table
    assert table is not None
    assert len(table) == 6
    assert list(table.columns[:3]) == ["method", "Omniglot trainings", "Omniglot 5-way 1-shot"]
    assert table.columns[-1] == "miniImageNet 5-way 5-shot"
    (proto,) = table[table["method"] == "proto"].to_dict("records")
    assert all(" ± " in cell for heading, cell in proto.items() if str(heading).endswith("shot"))
    assert proto["Omniglot trainings"].endswith(("seed", "seeds"))
    assert "(98.80)" in proto["Omniglot 5-way 1-shot"]
    assert not table["method"].str.contains("soft-kmeans|nt-xent").any(), "inductive rows alone"


def test_the_final_test_stands_first_once_it_has_methods_for_the_front_table() -> None:
    development = frame_of(committed_rows())
    development = development[
        (development["dataset"] == "omniglot-vinyals-28") & (development["terms"].fillna("") == "")
    ]
    of_paper = development[development["protocol"].str.fullmatch(r"omniglot-vinyals-28/5w1s/q15@v1")]
    best = of_paper[of_paper["setting"] == "inductive"].drop_duplicates("model").head(6)
    final = best.assign(terms="comparison@v1", episode_seed=7, episodes_digest="final", accuracy=best["accuracy"] - 20)
    shown = {}
    for number in (5, 6):
        frame = pd.concat([development, final.head(number)], ignore_index=True)
        table = front(frame).table
        assert table is not None
        shown[number] = dict(zip(table["method"], table["Omniglot 5-way 1-shot"], strict=True))
    (method, accuracy), *_ = zip(best["model"], best["accuracy"], strict=True)
    assert f"{accuracy:.2f}" in shown[5][method], "what was seen in development, while the final test is small"
    assert f"{accuracy - 20:.2f}" in shown[6][method]


def test_without_records_the_front_says_how_to_make_one() -> None:
    assert "fewshot run" in front(leaderboard_frame([])).text
