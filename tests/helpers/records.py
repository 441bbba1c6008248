"""Records that were never measured: whole ones, and copies with single things changed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from episodes.spec import unit_of
from fewshot.records.protocols import ProtocolName
from fewshot.records.ranking import RankedRow, ranked_rows
from fewshot.records.record import RunRecord, pack_counts, read_records, write_record
from fewshot.records.schema import Cost, EpisodeSettings, Hardware, History, StoredRecipe, StoredValidation, Trained
from fewshot.statistics.intervals import episode_interval, formula

RUNS = Path(__file__).parents[2] / "results" / "runs"
COUNTS = np.asarray([70, 75, 71, 75, 60], np.uint16)
_OF_TRAINED = ("model", "seed", "shortened", "commit")


@cache
def committed() -> tuple[RunRecord, ...]:
    """The records in results/runs in the order of their file names, read once: there are hundreds."""
    return tuple(read_records([RUNS]))


@cache
def committed_rows() -> list[RankedRow]:
    """These records ranked, which takes seconds."""
    return ranked_rows(committed())


def a_record(counts: Any = COUNTS, num_queries: int = 75, **changes: Any) -> RunRecord:
    """A record whose accuracy and interval are those of its counts; see ``changed``."""
    omniglot: dict[str, Any] = {"dataset": "omniglot", "class_split": "vinyals", "dataset_id": "omniglot-vinyals-28"}
    record = RunRecord(
        protocol="omniglot-vinyals-28/5w1s/q15@v1",
        accuracy=0.0,
        ci95=0.0,
        num_episodes=1,
        num_queries=num_queries,
        correct="",
        episodes_digest="digest",
        episode_seed=0,
        transductive=False,
        uses_unlabeled=False,
        num_parameters=111_936,
        trained=Trained(
            **omniglot,
            model="proto",
            model_options={},
            encoder="conv4",
            encoder_options={},
            recipe=StoredRecipe(name="fast", source="a test", train_episodes=3000, train_way=60),
            shortened=False,
            seed=3,
            commit="c",
            checkpoint="",
        ),
        test=EpisodeSettings(**omniglot, way=5, shot=1, query=15),
        history=History(validations=(StoredValidation(episode=1, accuracy=0.5, ci95=0.1, loss=0.5, seconds=1.0),)),
        cost=Cost(training_seconds=1.5, test_seconds=0.5),
        hardware=Hardware(cores=2),
        versions={"torch": "2"},
        command="fewshot run",
        date="2026-01-01T00:00:00+00:00",
        ci_formula=formula(),
        notes=["ä ± 1"],
    )
    return changed(record, **({"counts": counts} | changes))


def changed(
    record: RunRecord,
    *,
    counts: Any = None,
    recipe: str | Mapping[str, Any] = "",
    trained: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    **changes: Any,
) -> RunRecord:
    """A copy: ``recipe`` (its name, or fields), ``trained`` and ``test`` change what they name and nothing else.

    ``counts`` change accuracy and interval, ``protocol`` changes the test, and the test's way, shot and number of
    queries, the protocol.
    """
    of_recipe = {"name": recipe} if isinstance(recipe, str) and recipe else dict(recipe or {})
    of_trained = {name: changes.pop(name) for name in _OF_TRAINED if name in changes} | dict(trained or {})
    if of_recipe or of_trained:
        whole = replace(record.trained.recipe, **of_recipe)
        changes["trained"] = replace(record.trained, **({"recipe": whole} | of_trained))
    if "protocol" in changes or test:
        changes |= _tested(record, changes.get("protocol"), dict(test or {}))
    if counts is not None:
        unit = unit_of(ProtocolName.parse(changes.get("protocol", record.protocol)).published_as)
        interval = episode_interval(counts / np.float64(changes.get("num_queries", record.num_queries)), unit)
        of_counts = {"correct": pack_counts(np.asarray(counts, np.uint16)), "num_episodes": len(counts)}
        of_counts["ci_formula"] = formula(unit)
        changes = of_counts | {"accuracy": interval.mean, "ci95": interval.half_width} | changes
    return replace(record, **changes)


def _tested(record: RunRecord, protocol: str | None, test: dict[str, Any]) -> dict[str, Any]:
    if protocol is None:
        settings = replace(record.test, **test)
        of_name = ("dataset_id", "way", "shot", "query", "unlabeled", "distractors")
        name = dataclasses.replace(record.protocol_name, **{part: getattr(settings, part) for part in of_name})
        return {"test": settings, "protocol": str(name), "num_queries": settings.way * settings.query}
    name = ProtocolName.parse(protocol)
    share = re.search(r"-damaged-(\d+)$", name.dataset_id)
    dataset, class_split, *_ = name.dataset_id.split("-")
    settings = EpisodeSettings(
        way=name.way,
        shot=name.shot,
        query=name.query or 1,
        unlabeled=name.unlabeled,
        distractors=name.distractors,
        dataset=dataset,
        class_split=class_split,
        dataset_id=name.dataset_id,
        num_classes=record.test.num_classes,
        corruption=int(share[1]) / 100 if share else 0.0,
        precision=record.test.precision,
    )
    return {"test": replace(settings, **test), "protocol": protocol}


DIFFICULTY = np.random.default_rng(0).integers(40, 70, 200)


def measured(model: str, extra: int = 0, *, shot: int = 1, seed: int = 3, **changes: Any) -> RunRecord:
    """A record of 200 episodes of 75 queries that share their difficulty; ``extra`` more queries are correct."""
    noise = np.random.default_rng([ord(letter) for letter in f"{model} {shot} {seed}"]).integers(0, 3, 200)
    counts = np.minimum(DIFFICULTY + extra + noise, 75).astype(np.uint16)
    protocol = f"omniglot-vinyals-28/5w{shot}s/q15@v1"
    return a_record(counts, 75, **({"model": model, "protocol": protocol, "seed": seed} | changes))


def published(folder: Path, *records: RunRecord) -> Path:
    """A results folder that holds these records."""
    for place, record in enumerate(records):
        write_record(record, folder / "runs" / f"{place}.json")
    return folder
