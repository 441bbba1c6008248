"""What there is to know of miniImageNet before it is loaded."""

from __future__ import annotations

from pathlib import Path

from episodes.datasets.cards import Benchmark, Card, class_lists
from episodes.spec import SPLITS

FOLDER_NAMES = ("miniimagenet", "mini-imagenet", "mini_imagenet", "MiniImageNet", "")  # "": the data folder itself


def places_of(root: Path) -> list[Path]:
    """Where the splits are looked for, below the folder of all data sets."""
    from episodes.datasets.miniimagenet.layouts import folders_to_look_in

    return [*folders_to_look_in([root / name for name in FOLDER_NAMES if name]), root]


def _folders(root: Path) -> list[Path | None]:
    """Where each split is; None where it is not."""
    from episodes.datasets.layouts import find_layout  # needs NumPy and Pillow, which take time
    from episodes.datasets.miniimagenet.layouts import LAYOUTS

    places, classes = places_of(root), class_lists(CARD)["ravi"]
    layouts = [find_layout(LAYOUTS, places, split, classes) for split in SPLITS]
    return [layout.folder if layout else None for layout in layouts]


def location(root: Path) -> Path:
    """The folder of the first split that is there, or else where all would lie."""
    return next(filter(None, _folders(root)), root / FOLDER_NAMES[0])


def is_present(root: Path) -> bool:
    """Whether all three splits are there, in any layout."""
    return all(_folders(root))


CARD = Card(
    name="miniimagenet",
    title="miniImageNet: 64 + 16 + 20 ImageNet classes, 600 color images each, 84x84",
    source="Vinyals et al. 2016 (images); Ravi and Larochelle 2017 (class split)",
    year=2016,
    dataset="episodes.datasets.miniimagenet.dataset:MiniImageNet",
    class_splits=("ravi",),
    image_shape=(3, 84, 84),
    family="photos",
    classes_of="ImageNet",
    benchmarks=(Benchmark("ravi", 84, "miniImageNet", num_test_classes=20, ways=(5,), published_as="miniimagenet"),),
    location=location,
    is_present=is_present,
)
