"""Records as the report meets them: several models on the same episodes of several settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fewshot.records.record import RunRecord, pack_counts
from fewshot.statistics.intervals import interval_over_episodes

EPISODES = 200


def a_record(model: str = "proto", accuracy: float = 0.95, way: int = 5, shot: int = 1, **changes: Any) -> RunRecord:
    """200 episodes of 75 queries; with one seed the episodes are as hard for every model."""
    seed = int(changes.get("seed", 0))
    hardness = np.random.default_rng(7).normal(0, 0.03, EPISODES)
    noise = np.random.default_rng([seed, *model.encode()]).normal(0, 0.01, EPISODES)
    counts = np.clip(np.rint(75 * (accuracy + hardness + noise)), 0, 75).astype(np.uint16)
    interval = interval_over_episodes(counts / 75)
    pixels = changes.pop("pixels", "omniglot-vinyals-28")
    episodes = changes.pop("train_episodes", 3000)
    history = [
        {"episode": 500 * (i + 1), "accuracy": accuracy - 0.2 / (i + 1), "ci95": 0.01, "loss": 1.0} for i in range(6)
    ]
    record = RunRecord(
        model=model,
        protocol=f"{pixels}/{way}w{shot}s/q15@v1",
        accuracy=interval.mean,
        ci95=interval.ci95,
        num_episodes=EPISODES,
        num_queries=75,
        correct=pack_counts(counts),
        episodes_digest=f"{pixels} {way} {shot}",
        episode_seed=0,
        recipe="fast",
        shortened=False,
        seed=0,
        transductive=False,
        uses_unlabeled=False,
        num_parameters=111_000,
        config={
            "way": way, "shot": shot, "encoder": "conv4", "encoder_options": {}, "pixels": pixels, "model_options": {},
            "checkpoint": f"runs/checkpoints/{model}-{seed}/checkpoint.safetensors", "dataset": pixels.split("-")[0],
            "query": 15, "test_pixels": pixels, "class_split": pixels.split("-")[1], "test_precision": "fp32",
            "recipe": {
                "name": "fast", "source": "s", "train_way": 60, "train_shot": shot, "train_episodes": episodes,
                "train_query": 5,
            },
        },
        training={"history": history, "val_accuracy": accuracy},
        seconds={"training": 300.0 * (1 + len(model)), "test": 2.0},
        commit="0123456789",
        versions={},
        machine={"name": "a machine", "device": "cpu"},
        command="fewshot run",
        date="2026-01-01T00:00:00+00:00",
        ci_formula="f",
    )  # fmt: skip
    return replace(record, **changes)


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
