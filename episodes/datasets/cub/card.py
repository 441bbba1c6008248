"""What there is to know of CUB-200-2011 before it is loaded."""

from __future__ import annotations

from episodes.datasets.cards import Benchmark, Card, Place

PLACE = Place(("CUB_200_2011/images", "cub/CUB_200_2011/images", "cub/images"), ("001.Black_footed_Albatross",))

CARD = Card(
    name="cub",
    title="CUB-200-2011: 200 species of birds, 100 + 50 + 50, 11,788 photos, 84x84",
    source="Wah et al. 2011 (images); Chen et al., ICLR 2019 (split: of the species in order every second trains, of "
    "the others by turns one is val and one test)",
    year=2011,
    dataset="episodes.datasets.cub.dataset:Cub",
    class_splits=("chen",),
    image_shape=(3, 84, 84),
    family="photos",
    benchmarks=(Benchmark("chen", 84, "CUB-200-2011", num_test_classes=50, ways=(5,)),),
    location=PLACE.location,
    is_present=PLACE.is_present,
)
