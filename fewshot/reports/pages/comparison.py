"""results/comparison.md: the terms in force, and how much of the tables keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from episodes.datasets.cards import benchmarks
from episodes.registry import origins
from fewshot.experiments.comparison.terms import Terms, all_terms
from fewshot.records.numbers import published
from fewshot.records.record import RunRecord
from fewshot.records.rows import Entry, entries_by_cell, is_ranked
from fewshot.reports.pages.base import Content, Page
from fewshot.reports.rendering import Bold, render, table_of
from fewshot.statistics.paired import PairedDifference

ENOUGH_SEEDS = 3


def why_no_finding(first: Entry, second: Entry) -> str:
    """What two rows lack for a difference to be a finding: several seeds, the same terms; empty where it is nothing."""
    seeds = sorted(len(entry.seeds) for entry in (first, second))
    terms = {entry.first.trained.terms for entry in (first, second)}
    fewest = "one seed" if seeds[0] == 1 else f"{seeds[0]} seeds"
    lacking = [] if seeds[0] >= ENOUGH_SEEDS else [f"{fewest} {'each' if seeds[0] == seeds[1] else 'of one row'}"]
    return ", ".join(lacking + (["not of the same terms"] if len(terms) > 1 or "" in terms else []))


def finding(first: Entry, second: Entry, difference: PairedDifference, p: float, better: str, worse: str) -> str:
    """What the difference of two rows says at the Holm-corrected ``p``; bold where it is a finding."""
    if why := why_no_finding(first, second):
        return f"{why}: no finding"
    return "not separable" if p >= 0.05 else Bold(better if difference.mean > 0 else worse)


def verdict_words(said: Sequence[tuple[str, str]]) -> str:
    """What a row says in words: pairs of a verdict and its cell; where all say the same the cells are left out."""
    cells_of: dict[str, list[str]] = {}
    for words, cell in said:
        cells_of.setdefault(words, []).append(cell)
    told = (f"{words}: {', '.join(cells)}" if len(cells_of) > 1 else words for words, cells in cells_of.items())
    return "; ".join(told)


def standing(entries: Sequence[Entry], dataset_id: str, terms: Terms) -> pd.DataFrame:
    """A row for each of our methods that is trained: its rows in the tables of these images, on the terms and not."""
    from fewshot.models.methods import METHODS

    ours = {name: METHODS.get(name) for name in METHODS if not origins(model=METHODS.get(name))}
    of_model: dict[str, list[Entry]] = {name: [] for name, kind in ours.items() if kind.trains_on != "nothing"}
    for entry in entries:
        if entry.first.test.dataset_id == dataset_id and entry.first.model in of_model:
            of_model[entry.first.model].append(entry)
    rows = []
    for name, found in of_model.items():
        within = [entry for entry in found if entry.first.trained.terms == terms.name]
        others = [entry for entry in found if entry.first.trained.terms != terms.name]
        rows.append({"method": name, "rows within the terms": _counted(within), "other rows": _counted(others)})
    return table_of(rows)


def _counted(entries: Sequence[Entry]) -> str:
    """``4, of 3 seeds``; ``none``."""
    seeds = sorted({len(entry.seeds) for entry in entries})
    if not seeds:
        return "none"
    of = f"{seeds[0]} seed" if seeds == [1] else f"{'–'.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} seeds"
    return f"{len(entries)}, of {of}"


def _budgets(terms: Terms) -> pd.DataFrame:
    return table_of(
        {
            "data set": benchmarks()[name].display_name,
            "images through the encoder": f"{budget.images:,}",
            "looks at val": str(budget.validations),
            "tuning trials": str(budget.trials),
            "images of a trial": f"{round(budget.images * budget.trial_share):,}",
            "augmentations to choose from": ", ".join(budget.augmentations),
        }
        for name, budget in terms.budgets.items()
    )


def _render(records: Iterable[RunRecord]) -> dict[str, Content]:
    terms = [*all_terms().values()][-1]
    cells = entries_by_cell(record for record in records if is_ranked(record))
    entries = [entry for found in cells.values() for entry in found]
    measured = [name for name in terms.budgets if any(entry.first.test.dataset_id == name for entry in entries)]
    if not measured:
        return {}
    trained = [entry for entry in entries if entry.first.trained.recipe.train_episodes]
    text = render(
        "comparison.md",
        terms=terms,
        budgets=_budgets(terms),
        tables={benchmarks()[name].display_name: standing(entries, name, terms) for name in measured},
        num_rows=len(trained),
        num_within=sum(entry.first.trained.terms == terms.name for entry in trained),
        num_final=sum(entry.first.episode_seed == terms.episode_seed for entry in trained),
        num_seeded=sum(len(entry.seeds) >= ENOUGH_SEEDS for entry in trained),
        enough=ENOUGH_SEEDS,
        statuses=Counter(number.status for number in published()),
    )
    return {"comparison.md": text}


PAGE = Page("comparison", _render)
