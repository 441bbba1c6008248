"""What there is to know of FGVC-Aircraft before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("fgvc-aircraft-2013b/data", "aircraft/data"), ("variants.txt",))

CARD = Card(
    name="aircraft",
    title="FGVC-Aircraft: 100 variants of airplanes, 100 photos each, cut to their boxes, 84x84; Meta-Dataset tests "
    "on 15",
    source="Maji et al. 2013 (images); Triantafillou et al., ICLR 2020 (split of Meta-Dataset, as its repository "
    "lists it, Apache-2.0)",
    year=2013,
    dataset="episodes.datasets.aircraft.dataset:Aircraft",
    class_splits=("meta-dataset", "all"),
    image_shape=(3, 84, 84),
    family="photos",
    benchmarks=(
        Benchmark("meta-dataset", 84, "FGVC-Aircraft", num_test_classes=15, ways=(5,)),
        Benchmark("all", 84, "FGVC-Aircraft, all classes", num_test_classes=100, ways=(5,)),
    ),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
