from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command_line import Fewshot
from fewshot.records.comparison import ComparisonError, compare, ranks_over_protocols
from fewshot.records.ranking import ranked_rows
from fewshot.records.record import RunRecord
from fewshot.records.rows import cell_of, entries_by_cell, is_ranked, setting_of, why_not_ranked
from fewshot.records.schema import ExternalEmbeddings, History
from fewshot.statistics.intervals import combined_interval, episode_interval, seed_interval
from fewshot.statistics.paired import Rank
from records import changed, measured, published


def test_models_are_compared_on_every_protocol_that_all_were_measured_on(tmp_path: Path) -> None:
    results = published(
        tmp_path,
        *(measured(model, extra, shot=shot) for model, extra in (("a", 0), ("b", 3)) for shot in (1, 5)),
        measured("c", 1),
    )
    both = compare(("a", "b"), results / "runs")
    assert [found.cell.protocol[20:24] for found in both] == ["5w1s", "5w5s"]
    assert [(row.name, row.rank) for row in both[0].rows] == [("b", Rank(1, 1)), ("a", Rank(2, 2))], "best first"
    (pair,) = both[0].pairs
    assert pair.verdict == "better"
    assert pair.difference.mean == pytest.approx(3 / 75, abs=0.005)
    (three,) = compare(("a", "b", "c"), results / "runs")
    assert [row.name for row in three.rows] == ["b", "c", "a"]
    assert [(pair.first, pair.second) for pair in three.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert all(pair.p_holm >= pair.difference.p for pair in three.pairs)


def test_records_of_other_episodes_are_refused_in_one_clear_line(tmp_path: Path) -> None:
    results = published(
        tmp_path, measured("a"), measured("b", shot=5), measured("c", episodes_digest="other"), measured("d", shot=5)
    )
    with pytest.raises(ComparisonError, match=r"nothing was measured on the same episodes: a on .*5w1s.*; b on .*5w5s"):
        compare(("a", "b"), results / "runs")
    with pytest.raises(ComparisonError, match="share the protocol omniglot-vinyals-28/5w1s/q15@v1 but not its epi"):
        compare(("a", "c"), results / "runs")
    with pytest.raises(ComparisonError, match=r"two records or more: fewshot compare A B"):
        compare(("a",), results / "runs")


def test_an_unknown_model_is_answered_with_the_near_one(tmp_path: Path) -> None:
    results = published(tmp_path, measured("proto"), measured("relation"))
    with pytest.raises(ComparisonError, match="Did you mean 'proto'"):
        compare(("protto", "relation"), results / "runs")
    with pytest.raises(ComparisonError, match="holds no paper record of proto by its own rule that is ranked"):
        compare(("proto", "relation"), results / "runs", "paper")
    with pytest.raises(ComparisonError, match=r"holds no records: --from says .* \(runs/records\)"):
        compare(("a", "b"), tmp_path / "empty")


def validated(record: RunRecord, accuracy: float, *, images: str = "val") -> RunRecord:
    """The record, better or worse on the validation classes."""
    history = History(val_accuracy=accuracy, selected_episode=1)
    return changed(record, history=history, trained={"val_images": images})


def test_of_several_configurations_validation_chooses_and_never_the_test(tmp_path: Path) -> None:
    results = published(
        tmp_path,
        validated(measured("a", 2), 0.9),
        validated(measured("a", 2, seed=4), 0.9),
        validated(measured("a", 9, recipe="paper"), 0.8),
        measured("a", 9, shortened=True),
        measured("b", 3),
    )
    (found,) = compare(("a", "b"), results / "runs")
    of = {row.name: row for row in found.rows}
    assert (of["a"].entry.seeds, of["a"].entry.first.recipe) == ((3, 4), "fast")
    assert of["a"].how == "of 2 configurations the best on the validation classes"
    assert of["b"].how == "the only configuration"


def test_without_a_shared_validation_the_latest_configuration_is_taken(tmp_path: Path) -> None:
    late = validated(measured("a", 0, recipe="paper", date="2026-02-01"), 0.1, images="others")
    results = published(tmp_path, validated(measured("a", 9), 0.9), late, measured("b", 3))
    (found,) = compare(("a", "b"), results / "runs")
    (of_a,) = (row for row in found.rows if row.name == "a")
    assert of_a.entry.first.recipe == "paper"
    assert of_a.how.endswith("the latest: they share no validation")


def test_models_are_compared_within_one_setting_by_their_own_rule(tmp_path: Path) -> None:
    """A transductive record and a read-out are more accurate, and neither is what the names say."""
    results = published(
        tmp_path,
        *(measured("proto", extra, readout=readout) for extra, readout in ((0, ""), (9, "simpleshot"))),
        *(measured("relation", extra, transductive=seen) for extra, seen in ((1, False), (9, True))),
        measured("seen", 2, transductive=True),
    )
    (found,) = compare(("proto", "relation"), results / "runs")
    assert {setting_of(row.entry.first) for row in found.rows} == {"inductive"}
    assert {row.entry.first.readout for row in found.rows} == {""}
    (found,) = compare(("proto+simpleshot", "relation"), results / "runs")
    assert found.rows[0].entry.first.readout == "simpleshot"
    (found,) = compare(("relation", "seen"), results / "runs")
    assert {setting_of(row.entry.first) for row in found.rows} == {"transductive"}
    with pytest.raises(ComparisonError, match="not all were measured in one setting: proto: inductive; seen: transd"):
        compare(("proto", "seen"), results / "runs")
    with pytest.raises(ComparisonError, match=r"of proto with read-out svm that is ranked: name proto\+simpleshot"):
        compare(("proto+svm", "relation"), results / "runs")


def test_paths_of_one_configuration_are_its_seeds(tmp_path: Path) -> None:
    results = published(tmp_path, *(measured("a", seed, seed=seed) for seed in range(3)), measured("b", 9))
    paths = [str(results / "runs" / f"{place}.json") for place in range(4)]
    (found,) = compare(paths, results / "nowhere")
    assert {row.name: row.entry.seeds for row in found.rows} == {"a": (0, 1, 2), "b": (3,)}


def test_a_record_keeps_its_row_beside_the_model_of_its_name(tmp_path: Path) -> None:
    results = published(tmp_path, measured("a", 0), measured("b", 9))
    mine = str(published(tmp_path / "mine", measured("a", 3)) / "runs" / "0.json")
    (found,) = compare((mine, "a", "b"), results / "runs")
    assert {row.name for row in found.rows} == {"a (file)", "a", "b"}
    assert len({row.entry.interval.mean for row in found.rows}) == 3
    (found,) = compare((mine, "a"), results / "runs")
    assert len(found.pairs) == 1


def test_a_difference_is_held_against_seeds_and_episodes_together(fewshot: Fewshot) -> None:
    """Trainings that differ more than the two methods do: over episodes alone each pair of them is told apart."""
    of_a, of_b = (
        [measured(name, extra + 4 * seed, seed=seed) for seed in range(3)] for name, extra in (("a", 1), ("b", 0))
    )
    results = published(Path("results"), *of_a, *of_b)
    (found,) = compare(("a", "b"), results / "runs")
    (pair,) = found.pairs
    assert pair.verdict == "not separable"
    assert [row.rank for row in found.rows] == [Rank(1, 2), Rank(1, 2)]
    assert pair.difference.low < 0 < pair.difference.high
    assert pair.difference.mean == pytest.approx(1 / 75, abs=0.002)
    alone = [compare([str(results / "runs" / f"{place}.json") for place in (n, n + 3)], results)[0] for n in range(3)]
    assert {one.pairs[0].verdict for one in alone} == {"better"}
    out = fewshot("compare", "a", "b").out
    assert "with 95 % interval over seeds and episodes together" in out
    assert re.search(r"± \d+\.\d\d +3 *$", out, re.MULTILINE), "accuracy and its seeds"
    assert "One training seed" not in out


def test_one_damaged_record_is_named_and_the_others_are_compared(fewshot: Fewshot) -> None:
    published(Path("runs"), measured("a"), measured("b", 3))
    Path("runs/runs/2.json").write_text("{}")
    outcome = fewshot("compare", "a", "b", "--from", "runs/runs")
    assert outcome.status == 0
    assert "b - a" in outcome.out
    (line,) = outcome.err.splitlines()
    assert line.startswith("left out: runs/runs/2.json is not a run record: its schema is None")


def test_external_embeddings_have_a_setting_of_their_own_and_say_what_made_them() -> None:
    made = ExternalEmbeddings(file="clip.npz", sha256="0", dim=512, trained_on="400 million pairs")
    record = measured("clip", 9, embeddings=made)
    ((entry,),) = entries_by_cell([record]).values()
    assert setting_of(record) == "external data"
    assert entry.model == "clip (trained on 400 million pairs)"


def test_seeds_are_averaged_episode_by_episode_and_the_later_of_two_equal_ones_counts() -> None:
    early, late = measured("a", 0, date="2026-01-01"), measured("a", 6, date="2026-02-01")
    other = measured("a", 2, seed=9)
    ((entry,),) = entries_by_cell([late, other, early]).values()
    assert [record.date for record in entry.records] == ["2026-02-01", other.date]
    expected = (late.counts.astype(float) + other.counts) / 150
    assert entry.accuracies.tolist() == pytest.approx(expected.tolist())
    assert entry.over_seeds is not None
    assert entry.over_seeds.n == 2
    assert entry.over_episodes == episode_interval(entry.accuracies)
    assert entry.over_seeds == seed_interval(np.array([late.accuracy, other.accuracy]))
    assert entry.interval == combined_interval(entry.over_episodes, entry.over_seeds)
    ((alone,),) = entries_by_cell([late]).values()
    assert alone.over_seeds is None
    assert alone.interval == alone.over_episodes == late.interval
    assert "not another training" in alone.interval.covers


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"protocol": "omniglot-vinyals-28/5w1s/q15@v0"}, "older version of the protocol"),
        ({"protocol": "omniglot-vinyals-28-damaged-75/5w1s/q15@v1"}, "damaged images"),
        ({"shortened": True}, "shortened training"),
    ],
)
def test_what_is_no_plain_result_stands_apart_and_says_why(changes: dict[str, Any], reason: str) -> None:
    assert why_not_ranked(measured("a", **changes)) == reason
    assert is_ranked(measured("a", **changes)) == (not reason)


def test_what_was_trained_on_other_images_stands_apart() -> None:
    record = measured("a")
    for pixels, share, reason in (("strokes-standard-28", 0, "trained on other images"), ("x", 0.3, "damaged images")):
        assert why_not_ranked(changed(record, trained={"dataset_id": pixels, "corruption": share})) == reason


def test_what_was_trained_on_another_data_set_is_a_setting_of_its_own() -> None:
    elsewhere = {"dataset": "miniimagenet", "dataset_id": "miniimagenet-ravi-84"}
    birds = {"dataset": "cub", "dataset_id": "cub-chen-84", "class_split": "chen"}
    record = changed(measured("a", protocol="cub-chen-84/5w1s/q15@v1"), trained=elsewhere, test=birds)
    assert (setting_of(record), why_not_ranked(record), is_ranked(record)) == ("cross-domain", "", True)
    at_home = changed(record, trained=birds)
    ranked = {row.setting: row for row in ranked_rows([record, at_home])}
    assert {setting: row.rank for setting, row in ranked.items()} == {
        "inductive": Rank(1, 1),
        "cross-domain": Rank(1, 1),
    }
    assert ranked["cross-domain"].entry.training.endswith(", on miniimagenet-ravi-84")
    assert "on " not in ranked["inductive"].entry.training
    seen_in_training = changed(record, test=birds | {"dataset": "tieredimagenet"})
    assert why_not_ranked(seen_in_training) == "trained on other images"
    assert setting_of(changed(record, transductive=True)) == "transductive"
    assert why_not_ranked(changed(record, transductive=True)) == "trained on other images"


def test_blocks_follow_what_a_method_used() -> None:
    assert setting_of(measured("a")) == "inductive"
    assert setting_of(measured("a", transductive=True)) == "transductive"
    assert setting_of(measured("a", self_supervised=True)) == "self-supervised"
    assert setting_of(measured("a", uses_unlabeled=True, transductive=True)) == "semi-supervised"
    assert cell_of(measured("a")) == cell_of(measured("b"))


def test_ranks_over_protocols_are_taken_from_the_shared_ones(tmp_path: Path) -> None:
    results = published(
        tmp_path,
        *(measured(model, extra, shot=shot) for model, extra in (("a", 0), ("b", 3), ("c", 5)) for shot in (1, 5)),
    )
    table = ranks_over_protocols(compare(("a", "b", "c"), results / "runs"))
    assert dict(zip(table.methods, table.mean_ranks, strict=True)) == {"a": 3, "b": 2, "c": 1}
    assert "2 protocols of 1 data set" in table.warning


def test_the_command_prints_differences_with_all_that_judges_them(fewshot: Fewshot) -> None:
    published(Path("results"), *(measured(m, e, shot=s) for m, e in (("a", 0), ("b", 3), ("c", 6)) for s in (1, 5)))
    out = fewshot("compare", "a", "b", "c", "--picture", "ranks.png").out
    assert "b - a" in out
    for word in ("200/0/0", "d +", "over all 3 pairs", "detectable", "better", "One training seed"):
        assert word in out
    assert "three methods or more" in fewshot("compare", "a", "b", "--picture", "ranks.png").error
    assert "warning: 2 protocols of 1 data set are too few" in out
    with Image.open("ranks.png") as picture:
        assert picture.width > 1000
    data = json.loads(fewshot("compare", "a", "b", "--json").out)
    assert data["comparisons"][0]["pairs"][0]["wins"] == 200
    assert data["ranks"]["mean_ranks"] == [2, 1]


def test_paths_are_called_by_their_model_and_numbered_where_they_share_it(fewshot: Fewshot) -> None:
    published(Path("results"), measured("a"), measured("a", 2, recipe="paper"))
    out = fewshot("compare", "results/runs/0.json", "results/runs/1.json").out
    assert "a #2 - a #1" in out
    assert "critical-difference plot ranks over protocols" in (
        fewshot("compare", "results/runs/0.json", "results/runs/1.json", "--picture", "a.png").error
    )


def test_pictures_are_png_or_svg_and_the_same_bytes_each_time(fewshot: Fewshot) -> None:
    published(Path("results"), *(measured(m, e, shot=s) for m, e in (("a", 0), ("b", 3), ("c", 6)) for s in (1, 5)))
    for name in ("one.svg", "two.svg"):
        assert fewshot("compare", "a", "b", "c", "--picture", name).status == 0
    assert Path("one.svg").read_bytes() == Path("two.svg").read_bytes()
    assert "critical difference" in Path("one.svg").read_text()
    assert "written as .png, .svg or .pdf" in fewshot("compare", "a", "b", "c", "--picture", "ranks.gif").error
