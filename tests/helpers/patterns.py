"""A data set as somebody adds it: one folder with its card and the class that loads it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from episodes import datasets
from episodes.datasets import cards
from episodes.datasets.cards import DATASETS

CARD = '''
"""Gray patterns that the program draws."""

from episodes.datasets.cards import Benchmark, Card

CARD = Card(
    name="gray-noise",
    title="Patterns: gray noise, 28x28",
    source="nobody",
    year=2019,
    dataset="{module}.dataset:Patterns",
    class_splits=("standard",),
    image_shape=(1, 28, 28),
    family="photos",
    benchmarks=(Benchmark("standard", 28, "Patterns", num_test_classes=8, ways=(5,)),),
)
'''
DATASET = '''
"""The images of Patterns."""

from dataclasses import replace

from {module}.card import CARD
from episodes.datasets.base import Dataset
from episodes.types import SPLITS
from toy_classes import toy_set


class Patterns(Dataset):
    card = CARD

    def load(self, split, progress=None):
        drawn = toy_set(8, 10, self.image_shape, seed=SPLITS.index(split), split=split)
        return replace(drawn, dataset="gray-noise", fingerprint="")

    def check(self, progress=None):
        return []
'''


def write_package(folder: Path, module: str) -> None:
    """The two files, for a package that is imported as ``module``."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Patterns."""\n')
    (folder / "card.py").write_text(CARD.format(module=module))
    (folder / "dataset.py").write_text(DATASET.format(module=module))


def add_folder(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """The folder ``patterns`` in ``place``, as if that were episodes/datasets; looked for anew."""
    write_package(place / "patterns", "episodes.datasets.patterns")
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(place)])
    monkeypatch.setattr(DATASETS, "_entries", {})
    monkeypatch.setattr(DATASETS, "_more", [cards._of_folders])
