"""Episodic networks beside baselines: the page and the picture, from records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewshot.records.record import RunRecord
from fewshot.records.schema import History, StoredRecipe
from fewshot.reports.pages.recipe_costs import images_seen
from fewshot.reports.pages.training_styles import (
    FINDINGS,
    PAGE,
    comparable,
    draw,
    style_of,
    verdicts,
)
from fewshot.reports.plots.style import save
from records import changed, committed

BATCHES = {"name": "fast", "train_episodes": 2000, "batch_size": 256}
EPISODES = {"name": "fast", "train_episodes": 3000, "train_way": 60, "train_shot": 1, "train_query": 5}
NOTHING = {"name": "none", "train_episodes": 0}
TERMS = "comparison@v1"
NUM_EPISODES = 200


def record_of(model: str, recipe: dict[str, Any], rate: float, readout: str = "", **changes: Any) -> RunRecord:
    """A record of 75 queries an episode, right at ``rate``; the episodes are as hard for one model as for another."""
    hard = np.random.default_rng(0).random((NUM_EPISODES, 75))
    counts = (hard < rate).sum(1).astype(np.uint16)
    values = {
        "model": model,
        "trained": {
            "recipe": StoredRecipe(source="a test", **recipe),
            "encoder": "conv4",
            "model_options": {},
            "terms": changes.pop("terms", ""),
        },
        "history": History(val_accuracy=changes.pop("val", 0.9), val_ci95=0.01),
        "counts": counts,
        "num_queries": 75,
        "readout": readout,
    }
    return changed(base(), **(values | changes))


@cache
def base() -> RunRecord:
    return next(r for r in committed() if r.protocol == "omniglot-vinyals-28/5w1s/q15@v1")


@pytest.fixture
def records() -> list[RunRecord]:
    return [
        record_of("proto", EPISODES, 0.95),
        record_of("relation", EPISODES, 0.9),
        record_of("softmax", BATCHES, 0.9),
        record_of("softmax", BATCHES, 0.97, "cosine"),
        record_of("softmax", BATCHES, 0.92, "simpleshot"),
        record_of("nt-xent", BATCHES, 0.8, self_supervised=True),
        record_of("untrained", NOTHING, 0.5),
    ]


def rows_under(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    lines = text.partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.split("|")[1:-1]])
    return rows


def test_a_style_follows_from_what_the_record_says(records: Sequence[RunRecord]) -> None:
    found = {record.model: style_of(record) for record in records}
    assert found == {
        "proto": "episodic",
        "relation": "episodic",
        "softmax": "baseline",
        "nt-xent": "self-supervised",
        "untrained": "untrained",
    }
    assert style_of(changed(records[0], transductive=True)) is None
    assert style_of(changed(records[0], uses_unlabeled=True)) is None


def test_every_episodic_network_meets_the_baseline_that_validated_best_with_read_outs_set_beforehand(
    records: Sequence[RunRecord],
) -> None:
    weaker = [record_of("hinge", BATCHES, 0.96, readout, val=0.6) for readout in ("", "simpleshot")]
    (group,) = comparable([*records, *weaker])
    by_own, fixed = verdicts(group), verdicts(group, "simpleshot")
    for found, baseline in ((by_own, records[2]), (fixed, records[4])):
        assert [verdict.episodic_name for verdict in found] == ["proto", "relation"]
        assert {verdict.baseline.entry.first.accuracy for verdict in found} == {baseline.accuracy}, "not hinge's"
        assert found[0].difference.mean == pytest.approx(records[0].accuracy - baseline.accuracy)
    assert by_own[0].words(0.01) == fixed[0].words(0.2) == "one seed each, not of the same terms: no finding"


def test_a_baseline_whose_class_means_were_computed_as_a_read_out_is_one_by_its_own_rule() -> None:
    by_means = record_of("center", BATCHES, 0.9, "prototype", val=0.95)
    (verdict,) = verdicts(
        comparable([record_of("proto", EPISODES, 0.95), record_of("softmax", BATCHES, 0.94, val=0.9), by_means])[0]
    )
    assert verdict.baseline.entry.records == (by_means,)


def test_of_several_configurations_validation_chooses_and_not_the_test() -> None:
    longer = {**EPISODES, "train_episodes": 9000}
    of_proto = [record_of("proto", EPISODES, 0.95, val=0.8), record_of("proto", longer, 0.9, val=0.81)]
    of_proto.append(record_of("proto", {**EPISODES, "val_shot": 5}, 0.8, val=0.99))  # on easier validation episodes
    page = str(PAGE.render([*of_proto, record_of("softmax", BATCHES, 0.92)])["training-styles.md"])
    ((name, difference, _),) = rows_under(page, "### The verdict")
    assert (name, difference[:3]) == ("proto", "-1.")
    costs = {row[0]: row for row in rows_under(page, "### What it costs")}
    assert costs["proto"][4] == f"{9000 * 60 * 6:,}"


def test_where_both_kinds_have_rows_on_the_terms_these_alone_are_compared() -> None:
    others = [record_of("proto", EPISODES, 0.97, val=0.99), record_of("hinge", BATCHES, 0.97, val=0.99)]
    within = [record_of("proto", EPISODES, 0.95, terms=TERMS), record_of("softmax", BATCHES, 0.9, terms=TERMS)]
    (verdict,) = verdicts(comparable([*others, *within])[0])
    assert verdict.episodic.entry.records == (within[0],)
    assert verdict.baseline.entry.records == (within[1],)
    (alone,) = verdicts(comparable([*others, within[0]])[0])
    assert alone.episodic.entry.records == (others[0],)


def of_seeds(count: int, terms: str) -> list[RunRecord]:
    """proto far above softmax, trainings of one rate and different seeds."""
    made = (("proto", EPISODES, 0.95), ("softmax", BATCHES, 0.9))
    return [record_of(*row, seed=seed, terms=terms) for seed in range(count) for row in made]


@pytest.mark.parametrize(
    ("count", "terms", "words"),
    [
        (3, TERMS, "episodic training pays"),
        (2, TERMS, "2 seeds each: no finding"),
        (1, TERMS, "one seed each: no finding"),
        (3, "", "not of the same terms: no finding"),
    ],
)
def test_episodic_training_pays_only_where_several_seeds_on_the_same_terms_say_so(
    count: int, terms: str, words: str
) -> None:
    records = of_seeds(count, terms)
    (group,) = comparable(records)
    (verdict,) = verdicts(group)
    assert verdict.words(0.01) == words
    (row,) = rows_under(str(PAGE.render(records)["training-styles.md"]), "### The verdict")
    assert row[-1] == words
    assert row[1].startswith("**+4.") == (words == "episodic training pays"), "a finding is bold"


def test_several_seeds_of_one_row_alone_are_no_finding() -> None:
    one_of_softmax = [record for record in of_seeds(3, TERMS) if record.model == "proto" or record.seed == 0]
    (verdict,) = verdicts(comparable(one_of_softmax)[0])
    assert verdict.words(0.01) == "one seed of one row: no finding"


def test_where_the_seeds_agree_and_the_episodes_do_not_there_is_no_claim() -> None:
    (verdict,) = verdicts(comparable(of_seeds(3, TERMS))[0])
    assert verdict.words(0.2) == "not separable"


def test_the_page_counts_its_findings_alone_and_shows_every_readout(records: Sequence[RunRecord]) -> None:
    text = str(PAGE.render(records)["training-styles.md"])
    assert "None of these 4 comparisons is a finding: that takes 3 training seeds or more of both rows" in text
    assert "It gains most" not in text
    found = str(PAGE.render(of_seeds(3, TERMS))["training-styles.md"])
    counted = (
        "Of 1 comparisons 1 are of 3 seeds or more on the same terms; in these episodic training is surely ahead in 1"
    )
    assert f"{counted}, surely behind in 0." in found
    assert "It gains most with proto at 5-way 1-shot (" in found
    none, one = (str(PAGE.render(some)[FINDINGS]) for some in (records, of_seeds(3, TERMS)))
    assert "A finding takes 3 training seeds of both. On Omniglot no comparison has them yet." in none
    ahead = r"against softmax, the episodic network is surely ahead in 1 of 1 comparisons \(by 4\.\d\d points\)"
    assert re.search(rf"On Omniglot, {ahead} and surely behind in none\.", one)
    matrix = rows_under(text, "<summary>5-way 1-shot")
    assert [row[0] for row in matrix] == ["softmax", "proto", "relation", "nt-xent", "untrained conv4"]
    assert [bool(cell) for cell in matrix[0][2:]] == [True, True, True], "own, cosine, simpleshot"
    assert matrix[0][3] == f"**{100 * records[3].accuracy:.2f} ± {_half(records[3])}**", "the best of the row is bold"


def _half(record: RunRecord) -> str:
    (group,) = comparable([record, record_of("proto", EPISODES, 0.5), record_of("softmax", BATCHES, 0.5)])
    (half,) = {
        f"{100 * s.entry.interval.half_width:.2f}" for s in group if s.entry.first.readout == record.readout != ""
    }
    return half


def test_costs_count_the_images_that_passed_the_encoder(records: Sequence[RunRecord]) -> None:
    by_model = {record.model: images_seen(record) for record in records}
    assert by_model["proto"] == 3000 * 60 * 6
    assert by_model["softmax"] == 2000 * 256
    assert by_model["nt-xent"] == 2 * 2000 * 256
    assert by_model["untrained"] == 0
    costs = {row[0]: row for row in rows_under(str(PAGE.render(records)["training-styles.md"]), "### What it costs")}
    assert costs["proto"][4] == "1,080,000"


def test_there_is_no_page_where_one_side_is_missing(records: Sequence[RunRecord]) -> None:
    (alone,) = PAGE.render(records[:2]).items()
    assert alone[0] == FINDINGS
    assert "No data set has rows of both kinds yet." in str(alone[1])


def test_the_picture_names_every_model_and_is_the_same_each_time(records: Sequence[RunRecord], tmp_path: Path) -> None:
    (group,) = comparable(records)
    first = save(draw(group), tmp_path / "one.svg").read_bytes()
    assert save(draw(group), tmp_path / "two.svg").read_bytes() == first
    for name in ("Prototypical Networks", "Baseline (softmax)", "SimCLR (NT-Xent)", "Untrained encoder, conv4"):
        assert f">{name}<".encode() in first
    assert len(Image.open(save(draw(group), tmp_path / "x.png")).convert("RGB").getcolors(1 << 20) or []) > 10


def test_a_difference_is_claimed_only_where_it_is_beyond_other_seeds_as_well() -> None:
    """The episodic network is better by 0.01 in each of three pairs of trainings, which differ by 0.02 themselves."""
    of_seeds = [
        [
            record_of("proto", EPISODES, rate + 0.01, seed=seed),
            record_of("softmax", BATCHES, rate, "simpleshot", seed=seed),
        ]
        for seed, rate in enumerate((0.92, 0.94, 0.96))
    ]
    (alone,) = verdicts(comparable(of_seeds[0])[0], "simpleshot")
    (together,) = verdicts(comparable([record for both in of_seeds for record in both])[0], "simpleshot")
    assert alone.difference.p < 1e-6
    assert together.difference.p > 0.2
    assert together.difference.mean == pytest.approx(0.01, abs=0.003)


def test_the_final_test_comes_first_and_is_drawn() -> None:
    groups = comparable(committed())
    assert len(groups) > 1
    firsts = [group[0] for group in groups]
    assert firsts[0].cell.pixels == "omniglot-vinyals-28"
    final = [bool(standing.entry.first.trained.terms) for standing in firsts]
    assert final == sorted(final, reverse=True)
    assert len({*final}) == 2


def test_a_network_without_a_part_of_its_recipe_is_held_against_the_same_baseline_in_a_table_of_its_own() -> None:
    tuned = EPISODES | {"train_way": 120, "support_rotation": True, "optimizer": "muon", "weight_decay": 1.0}
    records = [
        record_of("proto", tuned, 0.95, terms=TERMS),
        record_of("proto", tuned | {"support_rotation": False}, 0.93, terms=TERMS, val=0.99),
        record_of("proto", tuned | {"support_rotation": False, "learning_rate": 1.0}, 0.2, terms=TERMS),
        record_of("supcon", BATCHES, 0.94, terms=TERMS),
    ]
    (group,) = comparable(records)
    (whole,), (less,) = verdicts(group), verdicts(group, ablated=True)
    assert [verdict.episodic_name for verdict in (whole, less)] == ["proto", "proto without support rotation"]
    assert whole.difference.mean > 0 > less.difference.mean
    page = str(PAGE.render(records)["training-styles.md"])
    assert "The same networks without one part of their recipe" in page
    assert "Of 1 comparisons" in page or "None of these 1 comparisons" in page
    assert "The same networks without" not in str(PAGE.render([records[0], records[3]])["training-styles.md"])


def test_readme_counts_what_a_network_without_a_part_of_its_recipe_gains() -> None:
    tuned = EPISODES | {"train_way": 120, "support_rotation": True, "optimizer": "muon", "weight_decay": 1.0}

    def seeds(model: str, recipe: dict[str, Any], rate: float) -> list[RunRecord]:
        made = [record_of(model, recipe, rate + 0.002 * seed, terms=TERMS) for seed in range(3)]
        return [changed(record, trained={"seed": seed}) for seed, record in enumerate(made)]

    records = [*seeds("proto", tuned, 0.95), *seeds("supcon", BATCHES, 0.9)]
    records += seeds("proto", tuned | {"support_rotation": False}, 0.8)
    said = str(PAGE.render(records)[FINDINGS])
    assert "surely ahead in 1 of 1 comparisons" in said
    assert "There proto without support rotation is surely ahead in none of 1 and surely behind in 1." in said
