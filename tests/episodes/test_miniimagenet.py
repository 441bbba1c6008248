from __future__ import annotations

import os
import pickle
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.datasets.base import dataset_class
from episodes.datasets.miniimagenet.dataset import MiniImageNet
from episodes.datasets.opening import open_dataset
from episodes.progress import silent
from episodes.types import SPLITS, DataError, ImageSet
from miniimagenet_builders import (
    CLASSES,
    EACH,
    LAYOUTS,
    TinyMiniImageNet,
    cache_of,
    csv_and_images,
    csv_and_zips,
    expected,
    nested_class_folders,
    pickle_caches,
    pixels_of,
    png,
    write,
)

pytestmark = pytest.mark.usefixtures("cache_elsewhere")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pixels(layout: Callable[[Path], None], tmp_path: Path) -> None:
    layout(tmp_path)
    dataset = TinyMiniImageNet(tmp_path)
    assert dataset.is_present()
    fingerprints = {dataset.load(split).fingerprint for split in SPLITS}
    reference = tmp_path / "reference"
    csv_and_images(reference)
    assert fingerprints == {TinyMiniImageNet(reference).load(split).fingerprint for split in SPLITS}
    for split in SPLITS:
        image_set = dataset.load(split)
        np.testing.assert_array_equal(image_set.images.numpy(), expected(split))
        assert image_set.class_names == tuple(CLASSES[split])
        assert image_set.class_sizes.tolist() == [EACH] * len(CLASSES[split])
        assert (image_set.dataset, image_set.split) == ("miniimagenet-ravi-84", split)
    assert dataset.check() == []


def test_ravis_lists_hold_64_16_and_20_classes_without_overlap() -> None:
    lists = MiniImageNet().class_list
    assert [len(lists[split]) for split in SPLITS] == [64, 16, 20]
    assert len({wnid for wnids in lists.values() for wnid in wnids}) == 100
    assert all(sorted(wnids) == wnids for wnids in lists.values())


def test_it_is_registered_and_names_its_pixels_in_the_protocol() -> None:
    assert dataset_class("miniimagenet") is MiniImageNet
    assert MiniImageNet("anywhere").protocol_name == "miniimagenet-ravi-84"


def test_nothing_there_says_what_may_be_put_where(tmp_path: Path) -> None:
    dataset = TinyMiniImageNet(tmp_path)
    assert not dataset.is_present()
    assert dataset.location() == tmp_path / "miniimagenet"
    with pytest.raises(
        DataError, match=r"train is not on this machine: put into .*miniimagenet either images/.*7978538"
    ):
        dataset.load("train")
    assert [problem.split(":")[0] for problem in dataset.check()] == ["train", "val", "test"]


def test_a_second_start_reads_no_image_and_a_changed_source_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_and_images(tmp_path)
    first = TinyMiniImageNet(tmp_path).load("train")
    with monkeypatch.context() as patched:
        patched.setattr("episodes.datasets.miniimagenet.layouts.CsvAndImages.classes", None)  # calling it would fail
        assert TinyMiniImageNet(tmp_path).load("train").fingerprint == first.fingerprint
    csv_path = tmp_path / "miniimagenet" / "train.csv"
    content = csv_path.read_bytes().replace(b"n0153282900000001.png", b"n0153282900000009.png")
    csv_path.write_bytes(content)
    write(tmp_path / "miniimagenet" / "images" / "n0153282900000009.png", png(pixels_of("n01532829", 9)))
    assert TinyMiniImageNet(tmp_path).load("train").fingerprint != first.fingerprint


def test_images_of_another_size_are_resized_whole_by_the_named_filter(tmp_path: Path) -> None:
    nested_class_folders(tmp_path)
    large = np.ascontiguousarray(pixels_of("n01532829", 1, 200)[:100])
    write(tmp_path / "mini-imagenet/train/n01532829/n0153282900000001.png", png(large))
    image = TinyMiniImageNet(tmp_path).load("train").images[0].numpy()
    resized = np.asarray(Image.fromarray(large).resize((84, 84), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(image, resized.transpose(2, 0, 1))


def test_progress_counts_to_the_number_of_images(tmp_path: Path) -> None:
    csv_and_images(tmp_path)
    seen: list[tuple[int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        assert "train" in what
        seen.append((done, total))

    TinyMiniImageNet(tmp_path).load("train", progress)
    assert seen[-1] == (6, 6)


def damaged(root: Path, change: Callable[[Path], None]) -> tuple[str, str]:
    """The message of loading train, and of checking all, after a change to the images/ layout."""
    csv_and_images(root)
    change(root / "miniimagenet")
    dataset = TinyMiniImageNet(root)
    with pytest.raises(DataError) as caught:
        dataset.load("train")
    assert "\n" not in str(caught.value)
    return str(caught.value), "\n".join(dataset.check())


def test_missing_images_are_named(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        for path in (folder / "images").glob("n01532829*"):
            path.unlink()

    for message in damaged(tmp_path, change):
        assert "n0153282900000001.png, n0153282900000002.png" in message


def test_an_empty_and_an_undecodable_image_are_told_apart(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        write(folder / "images/n0153282900000001.png", b"")
        write(folder / "images/n0155899300000002.png", b"no image at all")
        path = folder / "images/n0155899300000003.png"
        path.write_bytes(path.read_bytes()[:9000])

    for message in damaged(tmp_path, change):
        assert "1 empty image: n0153282900000001.png" in message.replace("images/", "")
        assert "2 undecodable images: n0155899300000002.png (no known image format)" in message.replace("images/", "")


def test_a_missing_class_and_a_wrong_count_are_named(tmp_path: Path) -> None:
    nested_class_folders(tmp_path)
    shutil.rmtree(tmp_path / "mini-imagenet/train/n01532829")
    (tmp_path / "mini-imagenet/train/n01558993/n0155899300000001.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 classes are missing: n01532829; .*: n01558993 \(2\)"):
        TinyMiniImageNet(tmp_path).load("train")


def test_foreign_classes_and_classes_of_two_splits_are_named(tmp_path: Path) -> None:
    nested_class_folders(tmp_path)
    folder = tmp_path / "mini-imagenet"
    shutil.copytree(folder / "test/n01930112", folder / "train/n01930112")
    shutil.copytree(folder / "test/n01930112", folder / "val/n99999999")
    dataset = TinyMiniImageNet(tmp_path)
    with pytest.raises(DataError, match=r"1 classes do not belong to ravi's train split: n01930112 \(test\)"):
        dataset.load("train")
    problems = dataset.check()
    assert any("ravi's val split: n99999999 (in no split)" in problem for problem in problems)
    assert any("1 classes are in several splits: n01930112 (train, test)" in problem for problem in problems)


def test_a_csv_without_its_columns_or_with_a_file_twice_is_refused(tmp_path: Path) -> None:
    csv_and_images(tmp_path)
    csv_path = tmp_path / "miniimagenet/train.csv"
    content = csv_path.read_text()
    csv_path.write_text(content.replace("filename,label", "image,class"))
    with pytest.raises(DataError, match="must begin with the line filename,label"):
        TinyMiniImageNet(tmp_path).load("train")
    csv_path.write_text(content + "\n" + content.splitlines()[1])
    with pytest.raises(DataError, match=r"lists 1 files twice: n0153282900000003\.png"):
        TinyMiniImageNet(tmp_path).load("train")


def test_a_damaged_zip_file_is_named(tmp_path: Path) -> None:
    csv_and_zips(tmp_path)
    archive = tmp_path / "MiniImageNet/train-1.zip"
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train-1\.zip is not a whole zip file"):
        TinyMiniImageNet(tmp_path).load("train")


@pytest.mark.parametrize("content", [b"filename,label\n\xff\xfe,x\n", b"filename,label\n" + b"x" * 200_000 + b",y\n"])
def test_a_list_that_is_no_csv_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    csv_and_images(tmp_path)
    write(tmp_path / "miniimagenet" / "val.csv", content)
    with pytest.raises(DataError, match=r"val\.csv is not a CSV file in UTF-8"):
        TinyMiniImageNet(tmp_path).load("val")


IMAGES, ROWS = np.zeros((3, 84, 84, 3), np.uint8), [0] * 10**5
NESTED: list[object] = [0]
for _ in range(40):  # a few bytes, and a million million labels
    NESTED = [NESTED, NESTED]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8)}, "must hold image_data and class_dict.*not image_data"),
        ([1, 2], "must hold image_data and class_dict.*not list"),
        ({"image_data": np.zeros((3, 84, 84, 3)), "class_dict": {"n01855672": [0]}}, "must be uint8.*not float64"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n01855672": [0, 1, 3]}}, "beyond the 3"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n01855672": 7}}, "must hold image_data"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n01855672": [0, 1]}}, r"n01855672 \(2\)"),
        ({"image_data": IMAGES, "class_dict": {"n01855672": [float("inf")]}}, "must hold image_data"),
        ({"image_data": IMAGES, "class_dict": dict.fromkeys(map(str, range(10**4)), ROWS)}, "must hold image_data"),
        ({"data": IMAGES, "labels": NESTED, "catname2label": {"n01855672": 0}}, "must hold image_data"),
        ({"data": IMAGES, "labels": [0, 0, 0], "catname2label": {"n01855672": NESTED}}, "must hold image_data"),
    ],
)
def test_a_pickle_of_another_form_is_refused(content: object, message: str, tmp_path: Path) -> None:
    write(tmp_path / "mini-imagenet-cache-val.pkl", pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        TinyMiniImageNet(tmp_path).load("val")


def test_a_malicious_pickle_and_a_web_page_are_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Malicious:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {trace}",)

    write(tmp_path / "mini-imagenet-cache-val.pkl", pickle.dumps({"image_data": Malicious()}))
    with pytest.raises(DataError, match="is refused"):
        TinyMiniImageNet(tmp_path).load("val")
    assert not trace.exists()
    write(tmp_path / "mini-imagenet-cache-val.pkl", b"<html>quota exceeded</html>")
    with pytest.raises(DataError, match="is a web page, not a pickle"):
        TinyMiniImageNet(tmp_path).load("val")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def served_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files the data set downloads."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("FEWSHOT_MINIIMAGENET_URL", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def test_the_download_fetches_the_three_pickles_and_checks_their_structure(served_folder: Path, tmp_path: Path) -> None:
    pickle_caches(tmp_path / "made", val="validation")
    for path in (tmp_path / "made/miniimagenet").iterdir():
        shutil.copy(path, served_folder)
    dataset = TinyMiniImageNet(tmp_path / "data")
    dataset.download(silent)
    assert dataset.is_present()
    assert dataset.check() == []
    shutil.rmtree(served_folder)
    dataset.download(silent)  # what is there is not fetched again


def test_a_download_of_something_else_is_removed_and_says_what_is_wrong(served_folder: Path, tmp_path: Path) -> None:
    write(served_folder / "mini-imagenet-cache-train.pkl", pickle.dumps(cache_of("test")))
    dataset = TinyMiniImageNet(tmp_path / "data")
    with pytest.raises(
        DataError, match=r"train\.pkl is not miniImageNet and was removed: 2 of the 2 classes are missing"
    ):
        dataset.download(silent)
    assert not list((tmp_path / "data").rglob("*.pkl"))


def as_zips(root: Path, image_set: ImageSet, source: Path) -> None:
    """The real images of a split, packed beside the real CSV file."""
    folder = root / "miniimagenet"
    folder.mkdir(parents=True)
    csv_path = source / "miniimagenet" / f"{image_set.split}.csv"
    shutil.copy(csv_path, folder)
    names = [line.split(",")[0] for line in csv_path.read_text().splitlines()[1:]]
    for part in range(2):
        with zipfile.ZipFile(folder / f"part-{part}.zip", "w") as archive:
            for name in names[part::2]:
                archive.write(source / "miniimagenet/images" / name, f"images/{name}")


@pytest.mark.real_data
def test_real_images_from_files_and_from_zips_are_the_same(real_data_root: Path, tmp_path: Path) -> None:
    from_files = MiniImageNet(real_data_root).load("val")
    assert from_files.images.shape == (9600, 3, 84, 84)
    assert from_files.class_sizes.tolist() == [600] * 16
    assert from_files.class_names == tuple(MiniImageNet().class_list["val"])
    as_zips(tmp_path, from_files, real_data_root)
    assert MiniImageNet(tmp_path).load("val").fingerprint == from_files.fingerprint


@pytest.mark.real_data
def test_the_real_folder_has_every_class_and_every_file(real_data_root: Path) -> None:
    dataset = MiniImageNet(real_data_root)
    for split in SPLITS:
        layout = dataset._find(split)
        assert layout is not None
        assert dataset._miscounts(layout.classes(split), split) == []


def test_who_fetches_by_hand_is_told_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_MINIIMAGENET_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"fetch mini-imagenet-.*miniimagenet/mini-imagenet-cache-train\.pkl by hand"):
        MiniImageNet(tmp_path).download()


def test_a_part_of_it_starts_no_download_and_is_named(tmp_path: Path) -> None:
    nested_class_folders(tmp_path)
    (tmp_path / "mini-imagenet" / "val").rename(tmp_path / "aside")
    with pytest.raises(
        DataError, match=r"in part: train is in .*, test is in .*; val is not\. Put val beside it"
    ) as error:
        open_dataset("miniimagenet", tmp_path)
    assert "`fewshot data get miniimagenet`" in str(error.value)
    (tmp_path / "aside").rename(tmp_path / "mini-imagenet" / "Validation")
    assert open_dataset("miniimagenet", tmp_path).is_present()


def test_one_folder_deeper_and_large_letters_are_read(tmp_path: Path) -> None:
    nested_class_folders(tmp_path)
    (tmp_path / "miniimagenet").mkdir()
    (tmp_path / "mini-imagenet").rename(tmp_path / "miniimagenet" / "unpacked")
    for split in SPLITS:
        (tmp_path / "miniimagenet" / "unpacked" / split).rename(tmp_path / "miniimagenet/unpacked" / split.upper())
    assert TinyMiniImageNet(tmp_path).check() == []
