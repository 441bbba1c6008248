"""From the word after --dataset to a data set that is on this machine."""

from __future__ import annotations

from pathlib import Path

from episodes.datasets.base import Dataset, dataset_class
from episodes.datasets.cards import DATASETS
from episodes.errors import DataError, UserError
from episodes.progress import Listener

DEFAULT_DATASET = "omniglot"
FALLBACK_DATASET = "strokes"


def open_dataset(
    name: str | None,
    root: Path | None = None,
    class_split: str | None = None,
    *,
    reporter: Listener | None = None,
    image_shape: tuple[int, int, int] | None = None,
    size: int | None = None,
    own_split: str | None = None,
) -> Dataset:
    """The data set called ``name``, or the user's own images when it is a path; downloaded where that is possible.

    Without a name it is Omniglot, and where Omniglot is neither here nor to be had, the embedded strokes: that is
    said, and noted in the record. ``image_shape`` is what the user's own images are brought to; ``size`` is the side
    that was asked for, ``own_split`` how their classes are divided where ``class_split`` does not say. Raises
    DataError where the data set has no such size.
    """
    told, reporter = reporter is not None, reporter or Listener()
    if name is None:
        dataset = _default_dataset(root, class_split, reporter)
        return _sized(dataset, image_shape, size)
    if _is_path(name):
        from episodes.datasets.folder.dataset import Folder

        channels, side = (image_shape[0], image_shape[1]) if image_shape else (3, 84)
        folder = Folder(
            Path(name), class_split or own_split, image_size=side if size is None else size, channels=channels
        )
        if told:  # of many files, which may take long; else when it is first asked for
            folder.identify(reporter.data_progress)
        return folder
    if name == "folder":
        raise UserError("--dataset folder: give the folder (or CSV file) itself, as in --dataset ./my-images")
    dataset = dataset_class(name)(root, class_split)
    if not dataset.is_present():
        if said := dataset.here_in_part():
            raise DataError(said)
        if not dataset.downloadable:
            raise DataError(f"{name} is not on this machine: {dataset.how_to_get()}")
        reporter.say(f"{name} is not in {dataset.root} and is downloaded now")
        dataset.download(reporter.data_progress)
    return _sized(dataset, image_shape, size)


def _sized(dataset: Dataset, image_shape: tuple[int, int, int] | None, size: int | None) -> Dataset:
    """At the side that was asked for, else at that of ``image_shape`` where the data set comes in it."""
    if size is not None:
        return dataset.at_size(size)
    side = image_shape[-1] if image_shape else None
    return dataset.at_size(side) if side is not None and side in dataset.sizes else dataset


def _is_path(name: str) -> bool:
    if not name.strip():
        raise DataError("the data set has no name: is a variable of a script not set? A dot is the current folder")
    if name in DATASETS:
        return False
    if Path(name).exists():
        return True
    if "/" in name or name.endswith(".csv"):
        raise DataError(f"there is no folder or CSV file {name}")
    return False


def _default_dataset(root: Path | None, class_split: str | None, reporter: Listener) -> Dataset:
    try:
        return open_dataset(DEFAULT_DATASET, root, class_split, reporter=reporter)
    except DataError as error:
        if class_split is not None:
            raise
        reporter.note(
            f"Omniglot is neither on this machine nor downloadable ({error}); this run uses the embedded strokes "
            "instead: its numbers are not Omniglot's. `fewshot data get omniglot` fetches the real images."
        )
        return dataset_class(FALLBACK_DATASET)(root)
