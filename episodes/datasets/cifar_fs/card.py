"""What there is to know of CIFAR-FS before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("cifar-100-python", "cifar-100-binary", "cifar100/cifar-100-python"), ("train", "train.bin"))
"""Of CIFAR-100; FC100 is another division of its classes."""

CARD = Card(
    name="cifar-fs",
    title="CIFAR-FS: the classes of CIFAR-100 at random, 64 + 16 + 20, 600 color images each, 32x32",
    source="Krizhevsky 2009 (images); Bertinetto et al., ICLR 2019 (class split, as pytorch-meta lists it, MIT "
    "licence)",
    year=2019,
    dataset="episodes.datasets.cifar_fs.dataset:CifarFs",
    class_splits=("bertinetto",),
    image_shape=(3, 32, 32),
    family="photos",
    benchmarks=(Benchmark("bertinetto", 32, "CIFAR-FS", num_test_classes=20, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
