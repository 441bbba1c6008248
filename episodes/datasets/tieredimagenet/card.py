"""What there is to know of tieredImageNet before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(
    ("tiered-imagenet", "tieredimagenet", "tiered_imagenet", "tieredImageNet", "tieredImagenet"),
    ("train", "train_labels.pkl"),
)

CARD = Card(
    name="tieredimagenet",
    title="tieredImageNet: 351 + 97 + 160 ImageNet classes of 20 + 6 + 8 categories, 779,165 photos, 84x84",
    source="Ren et al., ICLR 2018 (images of ImageNet; split by categories, as their repository few-shot-ssl-public "
    "lists it, MIT licence)",
    year=2018,
    dataset="episodes.datasets.tieredimagenet.dataset:TieredImageNet",
    class_splits=("ren",),
    image_shape=(3, 84, 84),
    family="photos",
    classes_of="ImageNet",
    benchmarks=(Benchmark("ren", 84, "tieredImageNet", num_test_classes=160, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
