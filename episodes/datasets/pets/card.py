"""What there is to know of Oxford-IIIT Pets before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("oxford-iiit-pet", "pets"), ("annotations/trainval.txt",))

CARD = Card(
    name="pets",
    title="Oxford-IIIT Pets: 37 breeds of cats and dogs, 7,349 photos, 84x84; tests alone",
    source="Parkhi et al. 2012 (images); all classes test",
    year=2012,
    dataset="episodes.datasets.pets.dataset:Pets",
    class_splits=("all",),
    image_shape=(3, 84, 84),
    family="photos",
    benchmarks=(Benchmark("all", 84, "Oxford-IIIT Pets", num_test_classes=37, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
