"""Records as the report meets them: several models on the same episodes of several settings."""

from __future__ import annotations

from typing import Any

import numpy as np

import records
from fewshot.records.record import RunRecord
from fewshot.records.schema import Cost, Hardware, History, StoredValidation
from records import changed

EPISODES = 200


def a_record(model: str = "proto", accuracy: float = 0.95, way: int = 5, shot: int = 1, **changes: Any) -> RunRecord:
    """200 episodes of 75 queries; with one seed the episodes are as hard for every model."""
    seed = int(changes.get("seed", 0))
    hardness = np.random.default_rng(7).normal(0, 0.03, EPISODES)
    noise = np.random.default_rng([seed, *model.encode()]).normal(0, 0.01, EPISODES)
    counts = np.clip(np.rint(75 * (accuracy + hardness + noise)), 0, 75).astype(np.uint16)
    dataset_id = changes.pop("pixels", "omniglot-vinyals-28")
    dataset, class_split, _ = dataset_id.split("-")
    images = {"dataset": dataset, "class_split": class_split, "dataset_id": dataset_id}
    validations = tuple(
        StoredValidation(episode=500 * (i + 1), accuracy=accuracy - 0.2 / (i + 1), ci95=0.01, loss=1.0)
        for i in range(6)
    )
    record = records.a_record(
        counts,
        model=model,
        seed=seed,
        trained=images | {"checkpoint": f"runs/checkpoints/{model}-{seed}/checkpoint.safetensors"},
        recipe={"train_shot": shot, "train_episodes": changes.pop("train_episodes", 3000), "train_query": 5},
        protocol=f"{dataset_id}/{way}w{shot}s/q15@v1",
        num_queries=75,
        test={"precision": "fp32"},
        episodes_digest=f"{dataset_id} {way} {shot}",
        history=History(validations=validations, val_accuracy=accuracy),
        cost=Cost(training_seconds=300.0 * (1 + len(model)), test_seconds=2.0),
        hardware=Hardware(name="a machine"),
        versions={},
        notes=[],
    )
    return changed(record, **changes)


def several() -> list[RunRecord]:
    """Four models in five settings; relation is clearly worse, matching is not told from proto."""
    accuracies = {"proto": 0.96, "matching": 0.9601, "relation": 0.9, "siamese": 0.85}
    cells = ((5, 1, 0.0), (5, 5, 0.02), (20, 1, -0.1), (20, 5, -0.03))
    records = [
        a_record(model, accuracy + gain, way, shot)
        for model, accuracy in accuracies.items()
        for way, shot, gain in cells
    ]
    mini = [a_record(model, 0.5, pixels="miniimagenet-ravi-84") for model in ("proto", "matching")]
    return [*records, *mini, a_record("soft-kmeans-proto", 0.99, uses_unlabeled=True)]
