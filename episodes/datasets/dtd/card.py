"""What there is to know of Describable Textures before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("dtd/dtd/images", "dtd/images"), ("banded",))

CARD = Card(
    name="dtd",
    title="Describable Textures (DTD): 47 textures, 120 photos each, 84x84; Meta-Dataset tests on 7",
    source="Cimpoi et al. 2014 (images); Triantafillou et al., ICLR 2020 (split of Meta-Dataset, as its repository "
    "lists it, Apache-2.0)",
    year=2014,
    dataset="episodes.datasets.dtd.dataset:Dtd",
    class_splits=("meta-dataset", "all"),
    image_shape=(3, 84, 84),
    family="photos",
    benchmarks=(
        Benchmark("meta-dataset", 84, "Describable Textures", num_test_classes=7, ways=(5,)),
        Benchmark("all", 84, "Describable Textures, all classes", num_test_classes=47, ways=(5,)),
    ),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
