"""miniImageNet: 100 ImageNet classes, 600 images each, 84x84, under the class split of Ravi and Larochelle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from episodes.datasets.base import Dataset
from episodes.datasets.miniimagenet.card import CARD, FOLDER_NAMES, class_list, places_of
from episodes.datasets.miniimagenet.layouts import (
    Classes,
    Layout,
    PickleCaches,
    classes_in_pickle,
    find_layout,
    source_fingerprint,
)
from episodes.files import cache_root
from episodes.images.array_cache import Decoder, cached_image_set
from episodes.images.decoding import (
    RESIZE_FILTER_NAME,
    MissingPicture,
    Picture,
    Preparation,
    Problem,
    decode_pictures,
    fill_or_raise,
    unreadable_lines,
)
from episodes.images.download import UNCHECKED, fetch
from episodes.progress import Progress, silent
from episodes.types import SPLITS, DataError, ImageSet, Split

_SIZE = 84
_PREPARATION = Preparation(channels=3, size=_SIZE, center_crop=False)  # whole image, squeezed, as Ravi's tools do
_PICKLES: dict[Split, str] = {
    "train": "mini-imagenet-cache-train.pkl",
    "val": "mini-imagenet-cache-validation.pkl",
    "test": "mini-imagenet-cache-test.pkl",
}


class MiniImageNet(Dataset):
    """miniImageNet from any of the layouts in which people keep it; see ``how_to_get``.

    Pixels are RGB. Images that are not 84x84 are resized whole, by the filter that ``episodes.images.decoding`` names;
    within a class images come in the order of their file names, or of the pickle cache.
    """

    card = CARD
    downloadable = True
    images_per_class: ClassVar[int] = 600
    class_list: ClassVar[dict[Split, list[str]]] = class_list()
    download_url: ClassVar[str] = "https://zenodo.org/records/7978538/files"

    def load(self, split: Split, progress: Progress = silent) -> ImageSet:
        layout = self._find(split)
        if layout is None:
            raise DataError(f"miniImageNet {split} is not on this machine: {self.how_to_get()}")
        fingerprint = source_fingerprint(layout.sources(split))
        key = f"miniimagenet-ravi-84-v1-{RESIZE_FILTER_NAME}-{split}-{fingerprint}"
        make_decoder = partial(self._decoder, layout, split)
        return cached_image_set(cache_root(self.root), key, self.protocol_name, split, make_decoder, progress)

    def how_to_get(self) -> str:
        return (
            f"put into {self.root / FOLDER_NAMES[0]} either images/ with train.csv, val.csv and test.csv, or these "
            "CSV files with the images in zip files, or one folder per class (named n01532829 and so on), or "
            "mini-imagenet-cache-train.pkl, -validation.pkl and -test.pkl of https://zenodo.org/records/7978538, "
            "which `fewshot data get miniimagenet` fetches (1.8 GB)"
        )

    def check(self, progress: Progress = silent) -> list[str]:
        problems: list[str] = []
        splits_of: dict[str, list[str]] = {}
        for split in SPLITS:
            layout = self._find(split)
            try:
                if layout is None:
                    raise DataError(f"not on this machine: {self.how_to_get()}")
                classes = layout.classes(split)
            except DataError as error:
                problems.append(f"{split}: {error}")
                continue
            for class_name in classes:
                splits_of.setdefault(class_name, []).append(split)
            failed = decode_pictures(_all_pictures(classes), None, _PREPARATION, f"checking {split}", progress)
            found = (*self._miscounts(classes, split), *unreadable_lines(failed))
            problems += [Problem(f"{split}: {line.what}", line.names) for line in found]
        shared = [f"{name} ({', '.join(splits)})" for name, splits in splits_of.items() if len(splits) > 1]
        return problems + ([Problem(f"{len(shared)} classes are in several splits", shared)] if shared else [])

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

    def _find(self, split: Split) -> Layout | None:
        return find_layout(places_of(self.root), split, self.class_list)

    def _decoder(self, layout: Layout, split: Split) -> Decoder:
        classes = layout.classes(split)
        pictures = _all_pictures(classes)
        missing = [picture.name for picture in pictures if isinstance(picture, MissingPicture)]
        problems = self._miscounts(classes, split) + ([Problem("missing images", missing)] if missing else [])
        where, advice = f"miniImageNet {split} in {layout.folder} ({layout.title})", "Copy or fetch the data again."
        if problems:
            raise DataError(f"{where}: {'; '.join(problems)}. {advice}")
        return Decoder(
            self.image_shape,
            np.arange(len(classes) + 1, dtype=np.int64) * self.images_per_class,
            tuple(sorted(classes)),
            partial(fill_or_raise, pictures, _PREPARATION, where, advice),
        )

    def _miscounts(self, classes: Classes, split: Split) -> list[Problem]:
        """What is wrong with the class ids and image counts of a split, a line for each kind."""
        right = self.class_list[split]
        home = {wnid: name for name, wnids in self.class_list.items() for wnid in wnids}
        problems = []
        if missing := [wnid for wnid in right if wnid not in classes]:
            problems.append(Problem(f"{len(missing)} of the {len(right)} classes are missing", missing))
        if foreign := [f"{wnid} ({home.get(wnid, 'in no split')})" for wnid in sorted(set(classes) - set(right))]:
            problems.append(Problem(f"{len(foreign)} classes do not belong to Ravi's {split} split", foreign))
        sizes = {wnid: len(classes[wnid]) for wnid in right if wnid in classes}
        if wrong := [f"{wnid} ({size})" for wnid, size in sizes.items() if size != self.images_per_class]:
            problems.append(Problem(f"{len(wrong)} classes do not have {self.images_per_class} images", wrong))
        return problems


def _all_pictures(classes: Classes) -> Sequence[Picture]:
    return [picture for name in sorted(classes) for picture in classes[name]]
