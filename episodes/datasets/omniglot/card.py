"""What there is to know of Omniglot before it is loaded."""

from __future__ import annotations

from pathlib import Path

from episodes.datasets.cards import Benchmark, Card

PARTS = ("images_background", "images_evaluation")


def location(root: Path) -> Path:
    """The folder that holds, or would hold, ``images_background`` and ``images_evaluation``.

    That of torchvision, else the data folder itself, else a clone of Lake's repository.
    """
    home = root / "omniglot-py"
    places = (root, home, root / "omniglot", root / "omniglot" / "python")
    return next((place for place in places if (place / PARTS[0]).is_dir()), home)


def is_present(root: Path) -> bool:
    """Whether both parts have their folder."""
    return all((location(root) / part).is_dir() for part in PARTS)


CARD = Card(
    name="omniglot",
    title="Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each, 28x28",
    source="Lake, Salakhutdinov & Tenenbaum (2015), Human-level concept learning through probabilistic program "
    "induction; split: Vinyals et al. (2016), as distributed by Snell et al. (2017)",
    year=2015,
    dataset="episodes.datasets.omniglot.dataset:Omniglot",
    class_splits=("vinyals", "lake"),
    image_shape=(1, 28, 28),
    family="drawings",
    benchmarks=(
        Benchmark("vinyals", 28, "Omniglot", num_test_classes=1692, rotations=4, published_as="omniglot"),
        Benchmark("lake", 28, "Omniglot, Lake's alphabets", num_test_classes=659),
        Benchmark("lake", 105, "Omniglot, Lake's alphabets, 105 pixels", num_test_classes=659, ways=()),
    ),
    shareable=True,
    location=location,
    is_present=is_present,
)
