"""What there is to know of German Traffic Signs before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(
    ("gtsrb/GTSRB/Training", "GTSRB/Training", "GTSRB/Final_Training/Images", "gtsrb/GTSRB/Final_Training/Images"),
    ("00000",),
)

CARD = Card(
    name="gtsrb",
    title="German Traffic Signs (GTSRB): 43 signs, the 26,640 or 39,209 training photos, 84x84; tests alone",
    source="Stallkamp et al. 2012 (images); all classes test, as in Triantafillou et al., ICLR 2020",
    year=2012,
    dataset="episodes.datasets.gtsrb.dataset:Gtsrb",
    class_splits=("all",),
    image_shape=(3, 84, 84),
    family="photos",
    benchmarks=(Benchmark("all", 84, "German Traffic Signs", num_test_classes=43, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
