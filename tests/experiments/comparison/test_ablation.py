"""Two trainings of a pair differ in one part of the recipe and in nothing else."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from fewshot.experiments.comparison.ablation import ablation
from shaped import Shaped

FIELDS = {
    "support rotation": {"turns"},
    "Muon": {"optimizer", "weight_decay"},
    "way": {"train_way", "train_episodes", "warmup", "validate_every"},  # the budget of images is the same
    "flips": {"augment"},
}


@pytest.mark.parametrize("dataset", ["omniglot", "miniimagenet"])
def test_each_part_is_on_and_off_with_three_seeds_and_nothing_else_differs(dataset: str) -> None:
    runs = ablation(dataset, ["softmax", "nca"], terms="comparison@v1")
    pairs: dict[tuple[str, str, int], list[dict[str, object]]] = {}
    for one in runs:
        training = one.config.resolve(Shaped(dataset), test=False).training
        assert training is not None
        key = (one.config.model, one.part, one.config.seed)
        pairs.setdefault(key, []).append(asdict(training.recipe) | {"present": one.present})
    parts = {model: {part for name, part, _ in pairs if name == model} for model, _, _ in pairs}
    assert parts == {"proto": {*FIELDS}, "softmax": {"Muon", "flips"}, "nca": {"Muon", "flips"}}
    assert {seed for _, _, seed in pairs} == {0, 1, 2}
    for (_, part, _), (with_it, without) in pairs.items():
        differing = {name for name in with_it if with_it[name] != without[name]}
        assert differing == FIELDS[part] | {"present"}
        assert (with_it["present"], without["present"]) == (True, False)
