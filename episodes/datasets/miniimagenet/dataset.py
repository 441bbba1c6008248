"""miniImageNet: 100 ImageNet classes, 600 images each, 84x84, under the class split of Ravi and Larochelle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from episodes.datasets.listed import ListedDataset
from episodes.datasets.miniimagenet.card import CARD, FOLDER_NAMES, places_of
from episodes.datasets.miniimagenet.layouts import LAYOUTS, PickleCaches, classes_in_pickle
from episodes.images.download import UNCHECKED, fetch
from episodes.progress import Progress, silent
from episodes.types import SPLITS, DataError, Split

_PICKLES: dict[Split, str] = {
    "train": "mini-imagenet-cache-train.pkl",
    "val": "mini-imagenet-cache-validation.pkl",
    "test": "mini-imagenet-cache-test.pkl",
}


class MiniImageNet(ListedDataset):
    """miniImageNet from any of the layouts in which people keep it; see ``how_to_get``.

    Images that are not 84x84 are resized whole, as Ravi's tools do.
    """

    card = CARD
    layouts = LAYOUTS
    sizes = ()  # its pickle caches hold 84x84
    center_crop = False
    images_per_class = 600
    downloadable = True
    download_url: ClassVar[str] = "https://zenodo.org/records/7978538/files"

    def how_to_get(self) -> str:
        return (
            f"put into {self.root / FOLDER_NAMES[0]} either images/ with train.csv, val.csv and test.csv, or these "
            "CSV files with the images in zip files, or one folder per class (named n01532829 and so on), or "
            "mini-imagenet-cache-train.pkl, -validation.pkl and -test.pkl of https://zenodo.org/records/7978538, "
            "which `fewshot data get miniimagenet` fetches (1.8 GB)"
        )

    def places(self) -> list[Path]:
        return places_of(self.root)

    def here_in_part(self) -> str:
        layouts = {split: self._find(split) for split in SPLITS}
        here = [f"{split} is in {found.folder} ({found.title})" for split, found in layouts.items() if found]
        absent = " and ".join(split for split, found in layouts.items() if not found)
        if absent and any(not isinstance(found, PickleCaches) for found in layouts.values() if found):
            return (
                f"miniImageNet is here in part: {', '.join(here)}; {absent} is not. Put {absent} beside it in the same "
                "way; or `fewshot data get miniimagenet` fetches what is missing"
            )
        return ""

    def download(self, progress: Progress = silent) -> None:
        """Fetch the pickle caches of the Zenodo record, or of $FEWSHOT_MINIIMAGENET_URL, of the splits that are absent.

        The record's checksums are not known here, so each file is read through and its class ids and image counts are
        compared with what they must be. Raises DataError when one is not what it should be, and removes it.
        """
        base = os.environ.get("FEWSHOT_MINIIMAGENET_URL", self.download_url).rstrip("/")
        folder = self.root / FOLDER_NAMES[0]
        for split, name in _PICKLES.items():
            if self._find(split):
                continue
            try:
                arrived = fetch(f"{base}/{name}", folder / f"unchecked-{name}", md5=UNCHECKED, progress=progress)
            except DataError as error:  # who puts it there by hand gives it the name that it gets once it is checked
                raise DataError(str(error).replace(f"unchecked-{name}", name)) from error
            try:
                problems: list[str] = [*self._miscounts(classes_in_pickle(arrived), split)]
            except DataError as error:
                problems = [str(error)]
            if problems:
                arrived.unlink()
                raise DataError(f"{base}/{name} is not miniImageNet and was removed: {'; '.join(problems)}")
            arrived.replace(folder / name)
