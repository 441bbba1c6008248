"""What there is to know of a user's own images before any are named."""

from __future__ import annotations

from episodes.datasets.cards import Card

CARD = Card(
    name="folder",
    title="your own images: one folder per class, or a CSV file (filename, label, optional split)",
    source="the user",
    year=2026,
    dataset="episodes.datasets.folder.dataset:Folder",
    class_splits=("auto", "given", "random", "test-only"),
    image_shape=(3, 84, 84),
    family="folder",
)
