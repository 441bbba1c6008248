"""What there is to know of EuroSAT before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("eurosat/2750", "EuroSAT/2750", "eurosat"), ("AnnualCrop",))

CARD = Card(
    name="eurosat",
    title="EuroSAT: 10 kinds of land seen by a satellite, 27,000 images in color, 64x64; tests alone",
    source="Helber et al. 2019 (images); all classes test, as in Guo et al., ECCV 2020",
    year=2019,
    dataset="episodes.datasets.eurosat.dataset:EuroSat",
    class_splits=("all",),
    image_shape=(3, 64, 64),
    family="photos",
    benchmarks=(Benchmark("all", 64, "EuroSAT", num_test_classes=10, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
