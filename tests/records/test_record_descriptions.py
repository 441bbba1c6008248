"""How a record is named in a table, and which printed number it is held against."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fewshot.records.published import target_of
from fewshot.records.record import RunRecord
from fewshot.records.rows import Entry, best_on_val, entries_by_cell
from fewshot.records.schema import Rule
from fewshot.reports.frame import leaderboard_frame
from omniglot_records import of_omniglot
from records import measured


def record_with(model: str = "proto", recipe: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
    return of_omniglot(model=model, recipe=recipe or {}, **changes)


SCALED = {"scale": 100.0, "fce": True}
AS_PROTO = Rule(model="proto", model_options={})


def test_rows_are_held_against_each_other_on_the_seeds_that_all_have() -> None:
    """What validated best with seed 0 stays the best when its further seeds are worse, and others have none."""

    def row_of(model: str, *val: float) -> Entry:
        records = [
            replace(record, history=replace(record.history, val_accuracy=accuracy, selected_episode=1))
            for record, accuracy in ((measured(model, seed=seed), accuracy) for seed, accuracy in enumerate(val))
        ]
        ((entry,),) = entries_by_cell(records).values()
        return entry

    first, second = row_of("proto", 0.8, 0.6), row_of("softmax", 0.75)
    assert first.val_accuracy < second.val_accuracy
    assert best_on_val([first, second]) is first
    assert best_on_val([first, row_of("softmax", 0.75, 0.75)]).first.model == "softmax"


def test_a_plain_record_is_named_as_its_model() -> None:
    assert record_with().description == "proto"


@pytest.mark.parametrize(
    ("record", "description"),
    [
        (record_with("matching", trained={"model_options": SCALED}), "matching fce=True scale=100"),
        (record_with(test={"shot": 5}), "proto (trained 1-shot)"),
        (record_with(recipe={"labeled_share": 0.1}), "proto (trained with 10 % labels)"),
        (
            record_with("soft-kmeans-proto", {"labeled_share": 0.1}, trained={"trained_as": AS_PROTO}),
            "soft-kmeans-proto (trained as proto, with 10 % labels)",
        ),
        (record_with(trained={"corruption": 0.75}), "proto (trained with 75 % damaged)"),
        (
            record_with(
                "relation",
                trained={
                    "model_options": {"batch_norm": "transductive"},
                    "trained_as": Rule(model="relation", model_options={}),
                },
            ),
            "relation batch-norm=transductive (trained with running batch norm)",
        ),
        (record_with(readout="simpleshot"), "proto + simpleshot"),
    ],
)
def test_what_sets_a_record_apart_stands_beside_its_model(record: RunRecord, description: str) -> None:
    assert record.description == description


def test_few_labels_are_held_against_the_baselines_of_ren_and_not_against_snell() -> None:
    assert (plain := target_of(record_with())) is not None
    assert plain.source.startswith("Snell")
    assert (few := target_of(record_with(recipe={"labeled_share": 0.1}))) is not None
    assert few.source.startswith("Ren")
    assert (few.variant, few.accuracy) == ("supervised protonet baseline, no distractors", 94.62)


@pytest.mark.parametrize(("distractors", "words"), [(0, "no distractors"), (5, "with distractors")])
def test_refinement_in_the_test_alone_has_a_printed_number_of_its_own(distractors: int, words: str) -> None:
    refined = record_with(
        "soft-kmeans-proto",
        {"labeled_share": 0.1},
        test={"distractors": distractors, "unlabeled": 5},
        trained={"trained_as": AS_PROTO},
        uses_unlabeled=True,
    )
    target = target_of(refined)
    assert target is not None
    assert target.variant == f"semi-supervised inference only, {words}"


def test_damaged_images_and_read_outs_are_held_against_nothing() -> None:
    assert target_of(record_with(trained={"corruption": 0.75})) is None
    assert target_of(record_with(readout="svm")) is None


def test_a_seed_that_did_not_validate_is_left_out_of_the_validation_accuracy() -> None:
    first, second = (measured("proto", seed=seed) for seed in (0, 1))
    seen = replace(first, history=replace(first.history, val_accuracy=0.8))
    unseen = replace(second, history=replace(second.history, val_accuracy=None))
    ((entry,),) = entries_by_cell([seen, unseen]).values()
    assert entry.val_accuracy == pytest.approx(0.8)
    assert leaderboard_frame([seen, unseen])["val_accuracy"].item() == pytest.approx(80)
