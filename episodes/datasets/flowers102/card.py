"""What there is to know of Flowers-102 before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("flowers-102", "flowers102"), ("imagelabels.mat",))

CARD = Card(
    name="flowers102",
    title="Flowers-102: 102 kinds of flowers, 8,189 photos, 84x84; Meta-Dataset tests on 16",
    source="Nilsback and Zisserman 2008 (images); Triantafillou et al., ICLR 2020 (split of Meta-Dataset, as its "
    "repository lists it, Apache-2.0)",
    year=2008,
    dataset="episodes.datasets.flowers102.dataset:Flowers102",
    class_splits=("meta-dataset", "all"),
    image_shape=(3, 84, 84),
    family="photos",
    benchmarks=(
        Benchmark("meta-dataset", 84, "Flowers-102", num_test_classes=16, ways=(5,)),
        Benchmark("all", 84, "Flowers-102, all classes", num_test_classes=102, ways=(5,)),
    ),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
