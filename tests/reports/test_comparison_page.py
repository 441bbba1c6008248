"""results/comparison.md: the terms, and how many rows keep them."""

from __future__ import annotations

from msgspec.structs import replace

from fewshot.experiments.comparison.terms import terms_named
from fewshot.records.numbers import published
from fewshot.records.record import RunRecord
from fewshot.reports.pages.comparison import PAGE
from omniglot_records import of_omniglot

TERMS = terms_named("comparison@v1")
TRAINING = {"train_way": 60, "train_shot": 1, "train_query": 5, "train_episodes": 1000}


def record(model: str, seed: int, terms: str = "", episode_seed: int = 0) -> RunRecord:
    made = of_omniglot(0.9, recipe=TRAINING, model=model)
    return replace(made, trained=replace(made.trained, terms=terms, seed=seed), episode_seed=episode_seed)


def test_rows_are_counted_within_the_terms_and_outside() -> None:
    kept = [record("proto", seed, TERMS.name, TERMS.episode_seed) for seed in range(3)]
    text = str(PAGE.render([*kept, record("proto", 0), record("matching", 0), record("untrained", 0)])["comparison.md"])
    lines = text.splitlines()
    assert "| proto | 1, of 3 seeds | 1, of 1 seed |" in lines
    assert "| matching | none | 1, of 1 seed |" in lines
    assert "| maml | none | none |" in lines
    assert not [line for line in lines if line.startswith("| untrained")]
    counts = "4 ranked rows of trained methods 1 are within the terms, 1 are tested on the final episodes"
    assert f"Of {counts} (episode seed {TERMS.episode_seed}) and 1 have 3 training seeds or more." in lines
    assert [line for line in lines if line.startswith("| Omniglot | 1,080,000 |")]
    assert "### miniImageNet" not in lines
    (counted,) = [line for line in lines if line.startswith(f"Of {len(published())} published numbers ")]
    assert f"and {sum(number.status == 'recalled' for number in published())} are from memory" in counted
    assert PAGE.render([]) == {}
