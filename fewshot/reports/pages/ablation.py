"""results/ablation.md: what each part of a recipe brings, from rows that differ in that part and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from fewshot.records.record import RunRecord
from fewshot.records.rows import Entry, cell_of, entries_by_cell, is_ranked
from fewshot.records.schema import StoredRecipe
from fewshot.reports.names import dataset_name, departures, images_name, shape_name
from fewshot.reports.pages.base import Content
from fewshot.reports.pages.comparison import finding, verdict_words
from fewshot.reports.rendering import Bold, render, table_of
from fewshot.statistics.paired import PairedDifference, holm, paired_difference
from fewshot.training.optimizers import MUON


@dataclass(frozen=True)
class Part:
    """``fields`` of a recipe that differ, and how much of the part a recipe has; None: it has something else there.

    ``option`` is the setting of a run that changes it.
    """

    option: str
    fields: frozenset[str]
    degree: Callable[[StoredRecipe], int | None]


PARTS: Mapping[str, Part] = {
    "support rotation": Part(
        "turns", frozenset({"support_rotation"}), lambda recipe: int(bool(recipe.support_rotation))
    ),
    "Muon": Part("optimizer", frozenset({"optimizer", "weight_decay"}), lambda recipe: int(recipe.optimizer == MUON)),
    "flips": Part("augment", frozenset({"augment"}), lambda recipe: {None: 0, "flip": 1}.get(recipe.augment)),
    "more classes in an episode": Part(  # within one budget of images
        "train_way",
        frozenset({"train_way", "train_episodes", "warmup", "validate_every"}),
        lambda recipe: recipe.train_way,
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two rows on the same episodes, of which the first has more of one part."""

    part: str
    first: Entry
    second: Entry
    difference: PairedDifference

    def words(self, p: float) -> str:
        """What the difference says at the Holm-corrected ``p``."""
        return finding(self.first, self.second, self.difference, p, "helps", "does harm")


def part_between(first: StoredRecipe, second: StoredRecipe) -> str | None:
    """The part that the first recipe has more of, where all else is alike; None where it is not, or has less."""
    one, other = (msgspec.structs.asdict(recipe) for recipe in (first, second))
    differing = {name for name in one if one[name] != other[name]}
    for name, part in PARTS.items():
        more, less = part.degree(first), part.degree(second)
        if differing <= part.fields and more is not None and less is not None and more > less:
            return name
    return None


def pairs(entries: Sequence[Entry]) -> list[Pair]:
    """All pairs of the rows of one cell, by method and part."""
    rows = [entry.by_seed for entry in entries]  # all of them say how far seeds move a row
    found = []
    for first, second in permutations(range(len(entries)), 2):
        one, other = entries[first], entries[second]
        part = part_between(one.first.trained.recipe, other.first.trained.recipe)
        if part is not None and _alike(one) == _alike(other):
            found.append(Pair(part, one, other, paired_difference(rows, first, second)))
    return sorted(found, key=lambda pair: (pair.first.first.model, [*PARTS].index(pair.part)))


def _alike(entry: Entry) -> tuple[Any, ...]:
    """What is the same in both rows of a pair, besides the recipe."""
    trained = entry.first.trained
    of_model = trained.model, trained.model_options, trained.encoder, trained.encoder_options
    return *of_model, trained.trained_as, trained.init, trained.pretrained, trained.terms


def _table(found: Sequence[Pair]) -> pd.DataFrame:
    """A row for each part of each method, its difference in every cell, and in words what they say."""
    corrected = map(float, holm([pair.difference.p for pair in found]))
    of_rows: dict[tuple[str, str, str, str], list[tuple[str, str, str]]] = {}
    for pair, p in zip(found, corrected, strict=True):
        words, shown = pair.words(p), pair.difference.percent()
        key = pair.first.first.model, pair.part, pair.first.training, pair.second.training
        shape = shape_name(pair.first.first.test.way, pair.first.first.test.shot)
        of_rows.setdefault(key, []).append((shape, Bold(shown) if isinstance(words, Bold) else shown, words))
    rows = [
        dict(zip(("method", "part", "with it", "without"), key, strict=True))
        | {shape: shown for shape, shown, _ in said}
        | {"verdict": verdict_words([(words, shape) for shape, _, words in said])}
        for key, said in of_rows.items()
    ]
    table = table_of(rows).fillna("")
    return table[[*table.columns.drop("verdict"), "verdict"]]


def planned(plan: Path) -> tuple[pd.DataFrame, int]:
    """A row for each part on each data set, as the plan switches it on and off, and how many trainings there are.

    In the plan the value that has the part comes first. Both are empty where there is no such file.
    """
    from fewshot.experiments.config import as_words
    from fewshot.experiments.sweep.plan import jobs_of, read_plan

    runs = [job.config for job in jobs_of(read_plan(plan))] if plan.is_file() else []
    rows = []
    for name, part in PARTS.items():
        changed = [run for run in runs if getattr(run, part.option) is not None]
        for dataset in dict.fromkeys(run.dataset for run in changed):
            here = [run for run in changed if run.dataset == dataset]
            first, second = dict.fromkeys(getattr(run, part.option) for run in here)
            flag = f"--{part.option.replace('_', '-')}"
            row = {"part": name, "data set": dataset_name(dataset or ""), "methods": _joined(run.model for run in here)}
            row |= {"with it": " ".join(as_words(flag, first)), "without": " ".join(as_words(flag, second))}
            trained = {(run.model, getattr(run, part.option), run.seed) for run in here}  # for all ways and shots
            rows.append(row | {"trainings": f"{len(trained)}, seeds {_joined(str(run.seed) for run in here)}"})
    return table_of(rows), sum(int(row["trainings"].partition(",")[0]) for row in rows)


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def ablation_files(records: Iterable[RunRecord], plan: Path) -> dict[str, Content]:
    """A table for each data set that has pairs, or what is planned; no page where no training kept any terms.

    ``plan`` is results/ablation.toml. Raises SweepError where that is no plan.
    """
    kept = [record for record in records if is_ranked(record) and record.trained.terms and not record.readout]
    if not kept:
        return {}
    found: dict[str, list[Pair]] = {}
    for entries in sorted(entries_by_cell(kept).values(), key=lambda entries: entries[0].first.pixels_way_shot):
        of = cell_of(entries[0].first)
        said = departures(entries[0].first.protocol_name, of.num_episodes, of.episode_seed)
        found.setdefault(f"{images_name(of.pixels)} ({', '.join(said)})", []).extend(pairs(entries))
    tables = {title: _table(of_title) for title, of_title in found.items() if of_title}
    coming, trainings = planned(plan)
    page = render("ablation.md", tables=tables, planned=coming, trainings=trainings)
    return {"ablation.md": page}
