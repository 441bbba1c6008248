"""A user's folder as it really is: every file is read, or left out with its reason."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.datasets.folder.dataset import Folder
from episodes.datasets.folder.listing import list_images
from episodes.images import decoding
from episodes.images.decoding import Preparation
from episodes.images.export import export_images
from episodes.types import DataError
from photo_builders import save, save_classes, write_csv

pytestmark = pytest.mark.usefixtures("cache_elsewhere")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.mark.parametrize("words", [("Train", "Val", "Test"), ("TRAIN", "Validation", "TEST"), ("training", "testing")])
def test_splits_are_known_in_any_case(photos: Path, words: tuple[str, ...]) -> None:
    for word in words:
        save_classes(photos / word, {f"{word}{number}": 2 for number in range(2)})
    splits = list_images(photos).splits
    assert sorted(splits) == sorted({word.lower()[:3].replace("tra", "train").replace("tes", "test") for word in words})
    assert all(len(classes) == 2 for classes in splits.values())


def test_split_folders_without_class_folders_are_refused(photos: Path) -> None:
    save_classes(photos, {"Train": 3, "Test": 3})
    with pytest.raises(DataError, match="Test, Train look like splits, but hold no class folders"):
        list_images(photos)


def test_blanks_around_a_label_and_a_large_letter_in_the_header_are_no_difference(photos: Path) -> None:
    save_classes(photos, {"a": 4, "b": 4})
    rows = [f"{c}/0{n}.png,{c}{' ' * (n % 2)},{'train' if c == 'a' else 'test'}" for c in "ab" for n in range(4)]
    listing = list_images(write_csv(photos / "list.csv", ["Filename,Label ,Split", *rows]))
    assert {name: len(files) for name, files in listing.classes.items()} == {"a": 4, "b": 4}
    assert sorted(listing.splits) == ["test", "train"]


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
MERGED = "each read as one class: caf\u00e9 ('cafe\\u0301' = 'caf\\xe9')"


def test_folders_that_differ_only_in_how_letters_are_written_are_one_class_and_named(photos: Path) -> None:
    save_classes(photos, {"tea": 2, COMPOSED: 3, DECOMPOSED: 3})
    if len([*photos.iterdir()]) < 3:
        pytest.skip("this file system keeps only one of the two names")
    dataset = Folder(photos)
    image_set = dataset.load("test")
    assert (image_set.class_names, image_set.class_sizes.tolist()) == ((COMPOSED, "tea"), [6, 2])
    (said,) = dataset.check()
    assert said == f"1 class names are written in several ways that look the same, {MERGED}"
    assert f"{MERGED}. " in f"{dataset.what_fits(image_set)} "
    assert f"{MERGED}. " in f"{dataset.oddities()} "


def test_one_class_written_in_two_ways_in_train_and_test_is_in_several_splits_and_named_where_pooled(
    photos: Path,
) -> None:
    save_classes(photos, {f"train/{COMPOSED}": 2, "train/a": 2, f"test/{DECOMPOSED}": 2, "test/b": 2})
    with pytest.raises(DataError, match=f"1 classes are in several splits: {COMPOSED}"):
        Folder(photos).load("test")
    pooled = Folder(photos, "test-only")
    assert pooled.load("test").class_names == ("a", "b", COMPOSED)
    assert pooled.oddities().count(MERGED) == 1


def test_labels_of_a_csv_file_that_differ_only_in_how_letters_are_written_are_named(photos: Path) -> None:
    save_classes(photos, {"heap": 3})
    rows = [f"heap/0{row}.png,{label}" for row, label in enumerate((COMPOSED, DECOMPOSED, "tea"))]
    dataset = Folder(write_csv(photos / "list.csv", ["filename,label", *rows]))
    assert [line for line in dataset.check() if MERGED in line] == [
        f"1 class names are written in several ways that look the same, {MERGED}"
    ]


def test_a_column_that_is_not_read_is_named(photos: Path) -> None:
    save_classes(photos, {"a": 2})
    path = write_csv(photos / "list.csv", ["filename,label,height", "a/00.png,a,3", "a/01.png,a,3"])
    assert "1 left out (column of the CSV file that is not read): height" in Folder(path).check()


def test_what_pillow_reads_is_read_and_the_rest_is_named_by_run_and_check(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    for shade, ending in enumerate(("ppm", "pgm", "jfif", "jpe", "bmp")):
        image = Image.new("L", (8, 8), 99 + 20 * shade)
        image.save(photos / "a" / f"x.{ending}", format={"jfif": "JPEG", "jpe": "JPEG"}.get(ending))
    Image.new("RGB", (8, 8)).save(photos / "a" / "bare", format="JPEG")
    (photos / "b" / "p.HEIC").write_bytes(b"ftypheic")
    (photos / "b" / "notes").write_text("no picture")
    dataset = Folder(photos)
    image_set = dataset.load("test")
    assert image_set.class_sizes.tolist() == [8, 2]
    assert dataset.check() == [
        "1 left out (.heic is no picture that is read): b/p.HEIC",
        "1 left out (without an ending, and no picture): b/notes",
    ]
    said = dataset.what_fits(image_set)
    assert "2 files were left out: 1 .heic is no picture that is read, 1 without an ending" in said
    assert "\n" not in said


def test_links_that_lead_back_are_left_out(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    (photos / "latest").symlink_to(photos)
    (photos / "up").symlink_to(photos.parent)
    (photos / "again").symlink_to(photos / "a")
    (photos / "b" / "sub").symlink_to(photos / "a")
    elsewhere = photos.parent / "elsewhere"
    save_classes(elsewhere, {"c": 2})
    (photos / "c").symlink_to(elsewhere / "c")
    listing = list_images(photos)
    assert {name: len(files) for name, files in listing.classes.items()} == {"a": 2, "b": 2, "c": 2}
    assert listing.left_out["link back into the folder"] == ["again", "latest", "up"]
    assert listing.left_out["link to a folder, below a class"] == ["b/sub"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.timeout(30)
def test_what_never_ends_is_not_opened(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    os.mkfifo(photos / "a" / "pipe.png")
    os.mkfifo(photos / "a" / "pipe")
    (photos / "a" / "zero.png").symlink_to("/dev/zero")
    (photos / "a" / "gone.png").symlink_to("nowhere.png")
    assert list_images(photos).left_out["no regular file"] == ["a/pipe", "a/pipe.png", "a/zero.png"]
    assert list_images(photos).left_out["broken link"] == ["a/gone.png"]
    listed = write_csv(photos / "list.csv", ["filename,label", "a/00.png,a", "a/pipe.png,a", "b/00.png,b"])
    assert Folder(listed).check()[0] == "1 undecodable image: a/pipe.png (no regular file)"


def test_pictures_beyond_the_ceilings_are_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    monkeypatch.setattr(decoding, "MOST_PIXELS", 600)  # the pictures have 20 x 30
    assert Folder(photos).check() == []
    save(photos / "a" / "big.png", Image.new("L", (31, 20)))
    assert Folder(photos).check() == ["1 undecodable image: a/big.png (31 x 20, more than 600 pixels)"]
    monkeypatch.setattr(decoding, "MOST_BYTES", 100)
    assert "more than the 100 that a picture may have" in Folder(photos).check()[0]


def test_of_large_pictures_no_more_than_two_are_in_memory_at_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_classes(photos, {f"c{number}": 70 for number in range(8)})  # 9 chunks, each for a thread
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    here, most, lock = 0, 0, threading.Lock()

    def slow(self: Preparation, image: Image.Image) -> np.ndarray:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        time.sleep(0.0002)
        with lock:
            here -= 1
        return prepared(self, image)

    prepared = Preparation._prepared
    monkeypatch.setattr(Preparation, "_prepared", slow)
    Folder(photos).load("test")
    assert most > 2
    most = 0
    monkeypatch.setattr(decoding, "_LARGE", 599)  # the pictures have 20 x 30
    Folder(photos, image_size=9).load("test")
    assert most == 2


def test_a_postscript_file_under_another_name_starts_no_program(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    (photos / "a" / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert Folder(photos).check() == ["1 undecodable image: a/x.png (no known image format)"]


@pytest.mark.parametrize(
    ("dtype", "scale", "said"),
    [
        (np.float32, 1, "32 bits a pixel: save it with 8 or 16"),
        (np.int32, 65535, "32 bits a pixel: save it with 8 or 16"),
        (np.uint16, 4095, "12 bits a pixel in a file of 16, nearly black: scale it to 8 or to all 16 bits"),
        (np.uint16, 65535, None),
    ],
)
def test_more_than_eight_bits_are_scaled_or_refused(
    photos: Path, dtype: type[np.number], scale: int, said: str | None
) -> None:
    gray = np.ones((8, 8))
    gray[4:] = 0.5
    save_classes(photos, {"b": 2})
    ending = "png" if dtype is np.uint16 else "tif"
    for number in range(2):
        save(photos / "a" / f"{number}.{ending}", Image.fromarray((gray * scale).astype(dtype)))
    if said is not None:
        assert said in Folder(photos).check()[0]
    else:
        image = Folder(photos, image_size=8).load("test").images[0, 0]
        assert (int(image[0, 0]), int(image[7, 0])) == (255, 127)


def test_an_export_names_the_file_of_every_row(photos: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        for number in (10, 9, 1):
            save(photos / name / f"{number}.png", Image.new("L", (8, 8), 20 * number + len(name)))
    dataset = Folder(photos, image_size=8)
    image_set = dataset.load("test")
    export_images(image_set, "x", tmp_path / "x.npz", dataset.files("test"))
    with np.load(tmp_path / "x.npz") as written:
        assert written["files"].tolist() == ["a/1.png", "a/10.png", "a/9.png", "b/1.png", "b/10.png", "b/9.png"]
        for file, image in zip(written["files"], written["images"], strict=True):
            assert int(image[0, 0, 0]) == Image.open(photos / str(file)).getpixel((0, 0))


def test_copies_within_a_class_and_between_splits_are_named_by_the_check(photos: Path) -> None:
    for split in ("train", "test"):
        save_classes(photos / split, {f"{split}{number}": 3 for number in range(2)})
    assert Folder(photos).check() == []
    whole = (photos / "train/train0/00.png").read_bytes()
    (photos / "test/test1/copy.png").write_bytes(whole)
    (said,) = Folder(photos).check()
    assert said.startswith("1 images are copies of another, pixel for pixel: ")
    assert {"train/train0/00.png", "test/test1/copy.png"} == set(said.rpartition(": ")[2].split(" = "))


def test_near_copies_between_splits_are_named_by_check_and_run(photos: Path) -> None:
    for split in ("train", "test"):
        save_classes(photos / split, {f"{split}{number}": 3 for number in range(2)})
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    photo = smooth.resize((200, 200), Image.Resampling.BICUBIC)
    save(photos / "train/train0/photo.png", photo)
    save(photos / "train/train1/nearly.jpg", photo.resize((150, 150)), quality=40)  # within train nobody is misled
    save(
        photos / "test/test0/other.jpg", photo.crop((3, 3, 197, 197)).point(lambda level: 15 + 0.9 * level), quality=60
    )
    dataset = Folder(photos)
    (said,) = dataset.check()
    assert said.startswith("1 images are nearly those of another split: ")
    assert "train/train0/photo.png ~ test/test0/other.jpg" in said
    sentence = dataset.what_fits(dataset.load("test"))
    assert "1 images are copies, or nearly, of one in another split: train/train0/photo.png ~ test/test0/" in sentence
    assert dataset.what_fits(dataset.load("test")) == sentence  # as kept in the cache
    save(photos / "test/test0/other.jpg")
    changed = Folder(photos)
    assert "copies" not in changed.what_fits(changed.load("test"))


def test_near_copies_within_the_test_are_named_by_check_and_run(photos: Path) -> None:
    save_classes(photos, {"a": 3, "b": 3})
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    photo = smooth.resize((200, 200), Image.Resampling.BICUBIC)
    for name, side in (("a/0.png", 200), ("a/1.jpg", 150), ("b/2.jpg", 100)):
        save(photos / name, photo.resize((side, side)))
    dataset = Folder(photos, image_size=84)
    (said,) = dataset.check()
    assert said.startswith("2 images are nearly another in the test, which falsifies accuracy: a/0.png ~ a/1.jpg")
    expected = "2 images are copies, or nearly, of another that is tested, too, which falsifies accuracy: a/0.png ~ a/1"
    assert expected in dataset.what_fits(dataset.load("test"))
    assert dataset.oddities() in dataset.what_fits(dataset.load("test"))  # as kept in the cache


def test_a_packed_folder_is_to_be_unpacked(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    packed = shutil.make_archive(str(photos), "zip", photos)
    assert Folder(packed).check() == [f"{packed} is a packed folder: unpack it, and name the folder"]


def test_one_folder_too_high_is_told_which_one_is_meant(photos: Path) -> None:
    save_classes(photos / "dataset" / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match=rf"holds one folder, dataset, .* name {photos}/dataset$"):
        list_images(photos)
    assert list_images(photos / "dataset").splits["train"].keys() == {"a", "b"}
