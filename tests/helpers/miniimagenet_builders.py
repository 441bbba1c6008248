"""A miniImageNet of five classes and three images each, written to disk in every layout."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from episodes.datasets.miniimagenet.dataset import MiniImageNet
from episodes.types import SPLITS, Split

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
CLASSES: dict[Split, list[str]] = {
    "train": ["n01532829", "n01558993"],
    "val": ["n01855672"],
    "test": ["n01930112", "n01981276"],
}
EACH = 3


class TinyMiniImageNet(MiniImageNet):
    """Five classes of three images, in every other respect the real thing."""

    images_per_class = EACH
    class_list: ClassVar[dict[Split, list[str]]] = CLASSES


def pixels_of(wnid: str, number: int, size: int = 84) -> Pixels:
    return np.random.default_rng([int(wnid[1:]), number]).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def files_of(split: Split) -> dict[str, tuple[str, bytes]]:
    """File name -> class id and content, not in the order of the names."""
    numbers = range(EACH, 0, -1)
    return {f"{wnid}{n:08d}.png": (wnid, png(pixels_of(wnid, n))) for wnid in CLASSES[split] for n in numbers}


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_csvs(folder: Path) -> None:
    for split in SPLITS:
        lines = [f"{name},{wnid}" for name, (wnid, _) in files_of(split).items()]
        write(folder / f"{split}.csv", "\n".join(["filename,label", *lines]).encode())


def csv_and_images(root: Path) -> None:
    write_csvs(root / "miniimagenet")
    for split in SPLITS:
        for name, (_, content) in files_of(split).items():
            write(root / "miniimagenet" / "images" / name, content)


def csv_in_a_split_folder(root: Path) -> None:
    csv_and_images(root)
    for split in SPLITS:
        write(root / "miniimagenet" / "split" / f"{split}.csv", (root / "miniimagenet" / f"{split}.csv").read_bytes())
        (root / "miniimagenet" / f"{split}.csv").unlink()


def csv_and_zips(root: Path) -> None:
    write_csvs(root / "MiniImageNet")
    for split in SPLITS:
        for part, (name, (_, content)) in enumerate(files_of(split).items()):
            with zipfile.ZipFile(root / "MiniImageNet" / f"{split}-{part % 2}.zip", "a") as archive:
                archive.writestr(f"images/{name}", content)
                archive.writestr(f"__MACOSX/images/._{name}", b"resource fork")


def nested_class_folders(root: Path, val: str = "val") -> None:
    for split in SPLITS:
        for name, (wnid, content) in files_of(split).items():
            write(root / "mini-imagenet" / (val if split == "val" else split) / wnid / name, content)


def flat_class_folders(root: Path) -> None:
    for split in SPLITS:
        for name, (wnid, content) in files_of(split).items():
            write(root / "mini_imagenet" / wnid / name, content)
    write(root / "mini_imagenet" / "n01532829" / ".DS_Store", b"hidden")


def flat_class_folders_in_the_data_folder(root: Path) -> None:
    flat_class_folders(root / "elsewhere")
    for folder in (root / "elsewhere" / "mini_imagenet").iterdir():
        shutil.move(folder, root / folder.name)


def cache_of(split: Split) -> dict[str, object]:
    images = np.stack([pixels_of(wnid, n) for wnid in CLASSES[split] for n in range(1, EACH + 1)])
    rows = {wnid: list(range(EACH * c, EACH * (c + 1))) for c, wnid in enumerate(CLASSES[split])}
    return {"image_data": images, "class_dict": dict(reversed(rows.items()))}


def pickle_caches(root: Path, protocol: int = 2, val: str = "val") -> None:
    for split in SPLITS:
        name = f"mini-imagenet-cache-{val if split == 'val' else split}.pkl"
        write(root / "miniimagenet" / name, pickle.dumps(cache_of(split), protocol))


def pickles_with_labels(root: Path) -> None:
    for split in SPLITS:
        cache = cache_of(split)
        labels = [10 + c for c in range(len(CLASSES[split])) for _ in range(EACH)]
        numbers = {wnid.encode(): 10 + c for c, wnid in enumerate(CLASSES[split])}
        content = {b"data": cache["image_data"], b"labels": labels, b"catname2label": numbers}
        phase = "train_phase_train" if split == "train" else split
        write(root / "miniimagenet" / f"miniImageNet_category_split_{phase}.pickle", pickle.dumps(content, 4))


LAYOUTS: list[Callable[[Path], None]] = [
    csv_and_images,
    csv_in_a_split_folder,
    csv_and_zips,
    nested_class_folders,
    partial(nested_class_folders, val="validation"),
    flat_class_folders,
    flat_class_folders_in_the_data_folder,
    pickle_caches,
    partial(pickle_caches, protocol=5, val="validation"),
    pickles_with_labels,
]


def expected(split: Split) -> Pixels:
    images = [pixels_of(wnid, n) for wnid in CLASSES[split] for n in range(1, EACH + 1)]
    return np.stack(images).transpose(0, 3, 1, 2)
