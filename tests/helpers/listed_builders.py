"""Small copies of the data sets of the field, written to disk in the form in which their authors distribute them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from episodes.datasets.base import dataset_class
from episodes.datasets.listed import ListedDataset
from episodes.types import SPLITS, Split
from miniimagenet_builders import Pixels, png, write

Lists = Mapping[Split, Sequence[str]]


def tiny(name: str, lists: Lists, root: Path, each: int | None = None, total: int | None = None) -> ListedDataset:
    """The data set of that name with fewer classes, ``each`` of so many images, or ``total`` of all."""
    kind = dataset_class(name)
    assert issubclass(kind, ListedDataset)
    classes = {split: list(lists.get(split, ())) for split in SPLITS}
    changed = {"class_list": classes, "images_per_class": each, "num_images": total}
    made: ListedDataset = type("Tiny", (kind,), changed)(root)
    return made


def picture(seed: int, side: int = 84) -> Pixels:
    """Blocks of color, which a JPEG file keeps well enough to be told apart."""
    blocks = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((4, 4, 1), np.uint8))


def jpeg(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=95)


CIFAR_NAMES = ("apple", "baby", "bear", "cloud")  # as in the file's own order
_SHAPE = (len(CIFAR_NAMES), 2, 3, 32, 32)  # class, file, channel, row, column
CIFAR_PIXELS = np.random.default_rng(0).integers(0, 256, _SHAPE, dtype=np.uint8)


def cifar_pickles(root: Path, **changes: object) -> None:
    """As Python 2 wrote them: the images of all classes one after another, in two files."""
    folder = root / "cifar-100-python"
    names = [name.encode() for name in CIFAR_NAMES]
    write(folder / "meta", pickle.dumps({b"fine_label_names": names, b"coarse_label_names": [b"x"]}, 2))
    for number, part in enumerate(("train", "test")):
        data = CIFAR_PIXELS[:, number].reshape(len(CIFAR_NAMES), -1)
        content: dict[bytes, object] = {b"data": data, b"fine_labels": [*range(len(CIFAR_NAMES))], b"batch_label": b""}
        write(folder / part, pickle.dumps(content | {key.encode(): value for key, value in changes.items()}, 2))


def cifar_binary(root: Path) -> None:
    folder = root / "cifar-100-binary"
    write(folder / "fine_label_names.txt", "\n".join([*CIFAR_NAMES, ""]).encode())
    for number, part in enumerate(("train", "test")):
        rows = [struct.pack("BB", 7, c) + CIFAR_PIXELS[c, number].tobytes() for c in range(len(CIFAR_NAMES))]
        write(folder / f"{part}.bin", b"".join(rows))


REN_CLASSES: dict[Split, dict[str, str]] = {  # in the order of the labels, which is not that of the ids
    "train": {"n01558993": "robin, American robin, Turdus migratorius", "n01532829": "House finch, linnet"},
    "val": {"n02099429": "curly-coated retriever", "n02099267": "flat-coated retriever"},
    "test": {"n01443537": "goldfish, Carassius auratus", "n01440764": "tench, Tinca tinca"},
}
_REN_LABELS = (1, 0, 1, 0)


def ren_npz(root: Path, save: Callable[..., Any] = np.savez) -> None:
    """Of each split the same four pictures, blue first, as OpenCV reads them."""
    _ren_labels(root)
    images = np.stack([picture(row)[..., ::-1] for row in range(4)])
    for split in SPLITS:
        save(root / "tiered-imagenet" / f"{split}_images.npz", images=images)


def ren_png(root: Path) -> None:
    _ren_labels(root)
    files = [np.frombuffer(png(picture(row)), np.uint8)[:, None] for row in range(4)]
    for split in SPLITS:
        write(root / "tiered-imagenet" / f"{split}_images_png.pkl", pickle.dumps(files, 2))


def _ren_labels(root: Path) -> None:
    for split, classes in REN_CLASSES.items():
        words = list(classes.values())
        labels = {"label_specific": np.array(_REN_LABELS, np.int32), "label_specific_str": words}
        write(root / "tiered-imagenet" / f"{split}_labels.pkl", pickle.dumps(labels, 2))


def ren_folders(root: Path) -> None:
    for split, classes in REN_CLASSES.items():
        for row, label in enumerate(_REN_LABELS):
            write(root / "tieredImageNet" / split / [*classes][label] / f"{row}.png", png(picture(row)))


def flowers(root: Path) -> None:
    """Photos 1 to 4, of the classes 2, 1, 2, 1."""
    savemat_in(root / "flowers-102" / "imagelabels.mat", labels=np.array([[2, 1, 2, 1]], np.uint8))
    for number in range(1, 5):
        jpeg(root / "flowers-102" / "jpg" / f"image_{number:05d}.jpg", picture(number))


def savemat_in(path: Path, **arrays: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, arrays)


def aircraft(root: Path) -> None:
    """Three photos of 100 x 120 pixels with a frame around the box in them."""
    folder = root / "fgvc-aircraft-2013b" / "data"
    for name in ("0034309", "1025794", "1340192"):
        framed = np.full((120, 100, 3), 255, np.uint8)
        framed[10:94, 8:92] = picture(int(name))
        jpeg(folder / "images" / f"{name}.jpg", framed)
    lists = {
        "variants": "707-320\nF-16A/B\nSaab 340\n",
        "images_box": "".join(f"{name} 9 11 92 94\n" for name in ("0034309", "1025794", "1340192")),
        "images_variant_trainval": "1025794 707-320\n0034309 F-16A/B\n",
        "images_variant_test": "1340192 707-320\n",
    }
    for name, text in lists.items():
        write(folder / f"{name}.txt", text.encode())


def pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    for name in ("Maine_Coon_1", "Maine_Coon_10", "beagle_2", "beagle_3"):
        jpeg(folder / "images" / f"{name}.jpg", picture(len(name)))
    write(folder / "annotations" / "trainval.txt", b"Maine_Coon_1 7 1 7\nbeagle_2 16 2 4\n")
    write(folder / "annotations" / "test.txt", b"Maine_Coon_10 7 1 7\n")
