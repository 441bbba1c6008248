from __future__ import annotations

import csv
import itertools
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from fewshot.experiments.paper_plan import fill
from fewshot.models.methods import METHODS
from fewshot.records.numbers import STATUSES
from fewshot.records.paper_tables import paper_table, paper_table_names
from fewshot.records.protocols import standard_protocols
from fewshot.records.published import (
    COMPARABLE_PIXELS,
    Published,
    models_with_targets,
    published,
    published_target,
    target_of,
    verdict,
)
from fewshot.records.schema import PretrainedEncoder
from omniglot_records import of_omniglot
from record_numbers import COMMAND, LIST, complete, found_numbers, listed_numbers, named_records
from records import changed, committed

OMNIGLOT, MINI = "omniglot-vinyals-28", "miniimagenet-ravi-84"


@pytest.mark.parametrize(
    ("pixels", "way", "shot", "accuracy", "ci95"),
    [
        (OMNIGLOT, 5, 1, 98.8, None),
        (OMNIGLOT, 5, 5, 99.7, None),
        (OMNIGLOT, 20, 1, 96.0, None),
        (OMNIGLOT, 20, 5, 98.9, None),
        (MINI, 5, 1, 49.42, 0.78),
        (MINI, 5, 5, 68.20, 0.66),
    ],
)
def test_prototypical_networks_are_held_against_the_tables_of_their_paper(
    pixels: str, way: int, shot: int, accuracy: float, ci95: float | None
) -> None:
    """Snell et al. 2017, tables 1 and 2."""
    target = published_target("proto", pixels, way, shot)
    assert target is not None
    assert (target.accuracy, target.ci95, target.kind) == (accuracy, ci95, "original")
    assert "Snell" in target.source


@pytest.mark.parametrize(
    ("model", "pixels", "way", "shot"),
    [
        ("proto", OMNIGLOT, 7, 1),
        ("proto", OMNIGLOT, 5, 2),
        ("proto", "omniglot-lake-28", 5, 1),
        ("proto", "strokes-standard-28", 5, 1),
        ("proto", "omniglot-vinyals-105", 5, 1),
        ("no such model", OMNIGLOT, 5, 1),
    ],
)
def test_where_the_paper_has_no_number_for_the_cell_there_is_none(model: str, pixels: str, way: int, shot: int) -> None:
    assert published_target(model, pixels, way, shot) is None


@pytest.mark.parametrize("model", sorted(models_with_targets()))
def test_every_model_that_rows_are_held_against_is_ours_and_finds_a_number(model: str) -> None:
    assert model in METHODS
    cells = itertools.product(COMPARABLE_PIXELS, (5, 20), (1, 5), (False, True))
    assert any(published_target(model, *cell[:3], distractors=cell[3]) for cell in cells)


def test_every_committed_record_is_held_against_the_number_that_is_listed() -> None:
    found, listed = found_numbers(named_records()), listed_numbers()
    new = sorted(found.keys() - listed.keys())
    assert not new, f"not listed yet, `{COMMAND}` adds them: {new}"
    assert found == listed


def test_the_command_adds_what_is_not_listed_and_changes_nothing_that_is(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(LIST.read_bytes())
    listed = listed_numbers()
    assert not complete(listed, path)
    assert path.read_bytes() == LIST.read_bytes()
    first, number = next(iter(listed.items()))
    assert complete({**listed, first: "another", "a-new-record": number}, path) == ["a-new-record"]
    assert listed_numbers(path) == {**listed, "a-new-record": number}


@pytest.mark.parametrize(
    ("status", "ci95", "gap", "word"),
    [
        ("verified", 0.5, 0.4, "matches"),
        ("verified", 0.5, 2.0, "above"),
        ("verified", 0.5, -2.0, "below"),
        ("verified", None, -2.0, "no 95 % interval published"),
        ("recalled", 0.5, -2.0, "number not checked"),
        ("recalled", None, 2.0, "number not checked"),
    ],
)
def test_no_verdict_rests_on_a_number_from_memory(status: str, ci95: float | None, gap: float, word: str) -> None:
    paper = Published("m", "v", "Conv4", "omniglot", 5, 1, 98.8, ci95, "", "", "S", "T", "original", status)
    assert verdict(gap, 0.3, paper) == word


def test_a_number_read_in_a_later_document_alone_is_said_to_be_so_and_never_comparable() -> None:
    held = [number for record in committed() if (number := target_of(record)) is not None]
    secondary = [number for number in held if number.status == "secondary"]
    assert {number.source.partition(" (read in a later table)")[0] for number in secondary} >= {
        "Vinyals et al. NeurIPS 2016",
        "Sung et al. CVPR 2018",
        "Ren et al. ICLR 2018 (final version)",
    }
    assert all("read in a later document" in number.difference for number in secondary)
    assert not any("read in a later document" in number.difference for number in held if number.status == "verified")


def test_what_no_document_shows_is_kept_only_where_a_table_of_ours_needs_it() -> None:
    """Numbers from memory fill a cell beside a model of ours, so that the cell says what it is; all others are out."""
    tables = [paper_table(name) for name in paper_table_names()]
    beside_ours = {
        number
        for table in tables
        for row in table.rows
        for column in table.columns
        if row.ours is not None and (number := table.published(row, column)) is not None
    }
    recalled = {number for number in published() if number.status == "recalled"}
    assert recalled
    assert recalled <= beside_ours


@pytest.mark.parametrize("words", ["read in a later", "repeated in"])
def test_a_source_that_was_not_read_itself_is_not_verified(words: str) -> None:
    found = {number.status for number in published() if words in number.source}
    assert found == {"secondary"}


def test_distractors_change_the_number_that_semi_supervised_models_are_held_against() -> None:
    plain = published_target("masked-proto", MINI, 5, 1)
    distracted = published_target("masked-proto", MINI, 5, 1, distractors=True)
    assert plain is not None
    assert distracted is not None
    assert (plain.variant, distracted.variant) == (
        "masked soft k-means, no distractors",
        "masked soft k-means, with distractors",
    )
    assert plain.accuracy > distracted.accuracy


def test_pixels_that_tables_are_held_against_are_of_a_standard_protocol() -> None:
    assert set(COMPARABLE_PIXELS) <= {protocol.dataset_id for protocol in standard_protocols()}
    assert set(COMPARABLE_PIXELS.values()) <= {row.dataset for row in published()}


def test_every_complete_row_of_the_table_is_read() -> None:
    text = resources.files("fewshot.records").joinpath("published_data", "numbers.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    complete = [row for row in rows if row["way"] and row["shot"] and row["accuracy"]]
    assert len(published()) == len(complete) > 300
    assert all(None not in row and None not in row.values() for row in rows), "as many fields as the head has"


def test_every_number_is_possible_and_names_its_source() -> None:
    for row in published():
        assert 0 < row.accuracy <= 100
        assert row.ci95 is None or 0 < row.ci95 < 20
        assert row.way >= 2
        assert row.shot >= 1
        assert row.source
        assert row.status in STATUSES


def test_a_number_is_shown_with_interval_source_table_and_doubt() -> None:
    row = Published(
        "m", "euclidean", "Conv4", "omniglot", 5, 1, 98.8, None, "", "", "Snell 2017", "Table 1", "original", "verified"
    )
    assert str(row) == "98.80 % (Snell 2017, Table 1, euclidean)"
    recalled = Published(
        "m", "cosine", "Conv4", "mini", 5, 1, 49.42, 0.78, "", "", "Snell 2017", "Table 2", "original", "recalled"
    )
    assert (
        str(recalled) == "49.42 ± 0.78 % (Snell 2017, Table 2, cosine; not comparable: recalled, read in no document)"
    )


WEIGHTS = PretrainedEncoder(file="a", sha256="0" * 64, trained_on="ImageNet-1k")


@pytest.mark.parametrize(
    ("trained", "difference"),
    [
        ({"dataset_id": "omniglot-lake-28", "class_split": "lake"}, "trained on other images"),
        ({"pretrained": WEIGHTS}, "from weights made elsewhere"),
    ],
)
def test_what_was_trained_elsewhere_is_in_no_papers_cell(trained: dict[str, Any], difference: str) -> None:
    record = of_omniglot(protocol=f"{OMNIGLOT}/5w1s/q15@v1")
    elsewhere = changed(record, trained=trained)
    plain, target = target_of(record), target_of(elsewhere)
    assert plain is not None
    assert target is not None
    assert difference not in plain.difference
    assert difference in target.difference
    table = paper_table("snell2017-table1")
    filled = [sum(cell.ours is not None for cell in fill(table, [one])) for one in (record, elsewhere)]
    assert filled == [1, 0]


@pytest.mark.parametrize(("model", "printed"), [("siamese", 92.0), ("proto", 86.3), ("hausdorff", 61.2), ("gan", None)])
def test_lakes_runs_are_held_against_the_tables_of_that_task(model: str, printed: float | None) -> None:
    record = of_omniglot(model=model, protocol="omniglot-lake-105/20w1s/runs@v1")
    target = target_of(record)
    assert (None if target is None else target.accuracy) == printed
    assert target is None or target.dataset == "omniglot-within-alphabet"


@pytest.mark.parametrize(
    ("pixels", "batch_norm", "accuracy", "source"),
    [
        (OMNIGLOT, "released", 99.6, "Sung"),
        (OMNIGLOT, "inductive", 98.02, "PaddleFSL"),
        (MINI, "released", 50.44, "Sung"),
        (MINI, "inductive", 49.31, "Chen"),
    ],
)
def test_relation_is_held_against_who_measured_it_with_the_same_batch_norm(
    pixels: str, batch_norm: str, accuracy: float, source: str
) -> None:
    options = {} if batch_norm == "inductive" else {"batch_norm": batch_norm}
    sees: dict[str, Any] = {"transductive": bool(options), "trained": {"model_options": options}}
    target = target_of(of_omniglot(model="relation", protocol=f"{pixels}/5w1s/q15@v1", **sees))
    assert target is not None
    assert target.accuracy == accuracy
    assert target.source.startswith(source)
    assert target.backbone.startswith("Conv4")


def test_batch_norm_over_a_whole_episode_is_nobodys_test() -> None:
    seen: dict[str, Any] = {"transductive": True, "trained": {"model_options": {"batch_norm": "transductive"}}}
    assert target_of(of_omniglot(model="relation", protocol=f"{OMNIGLOT}/5w1s/q15@v1", **seen)) is None


@pytest.mark.parametrize(("shot", "accuracy"), [(1, 43.4), (5, 51.09)])
def test_matching_on_miniimagenet_is_held_against_who_measured_it_on_these_classes(shot: int, accuracy: float) -> None:
    """Vinyals et al. divided the classes otherwise; Ravi and Larochelle's numbers stand in Snell's table."""
    record = of_omniglot(model="matching", protocol=f"{MINI}/5w{shot}s/q15@v1")
    target = target_of(record)
    assert target is not None
    assert (target.accuracy, target.source) == (accuracy, "Snell et al. NeurIPS 2017")
