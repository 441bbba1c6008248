"""What there is to know of FC100 before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card
from episodes.datasets.cifar_fs.card import PLACE

CARD = Card(
    name="fc100",
    title="FC100: CIFAR-100 divided by superclasses, 60 + 20 + 20 classes, 600 color images each, 32x32",
    source="Krizhevsky 2009 (images); Oreshkin et al., NeurIPS 2018 (split by superclasses, as pytorch-meta lists "
    "it, MIT licence)",
    year=2018,
    dataset="episodes.datasets.fc100.dataset:Fc100",
    class_splits=("oreshkin",),
    image_shape=(3, 32, 32),
    family="photos",
    benchmarks=(Benchmark("oreshkin", 32, "FC100", num_test_classes=20, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
