"""What there is to know of the strokes before they are drawn."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card

CARD = Card(
    name="strokes",
    title="Strokes: 1000 random characters, 20 drawings each, 28x28, drawn by the program itself",
    source="this project (embedded; no published numbers)",
    year=2026,
    dataset="episodes.datasets.strokes.dataset:Strokes",
    class_splits=("standard",),
    image_shape=(1, 28, 28),
    family="drawings",
    benchmarks=(Benchmark("standard", 28, "Strokes (drawn by the program)", num_test_classes=240),),
    shareable=True,
)
