from __future__ import annotations

import pickle
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.datasets.base import dataset_class
from episodes.datasets.folder.dataset import Folder, divide_at_random, what_fits
from episodes.datasets.opening import open_dataset
from episodes.progress import Listener
from episodes.types import SPLITS, DataError
from photo_builders import save, save_classes, write_csv

pytestmark = pytest.mark.usefixtures("cache_elsewhere")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "My photos"


def test_seven_classes_of_five_images_load_into_test(photos: Path) -> None:
    save_classes(photos, {f"class {c}": 5 for c in range(7)})
    image_set = Folder(photos, image_size=16).load("test")
    assert image_set.images.shape == (35, 3, 16, 16)
    assert image_set.class_names == tuple(f"class {c}" for c in range(7))
    assert image_set.class_sizes.tolist() == [5] * 7
    assert image_set.split == "test"
    assert len({image.numpy().tobytes() for image in image_set.images}) == 35
    with pytest.raises(
        DataError, match=r"no train classes: the split 'test-only' makes 7 test classes of it; other splits"
    ):
        Folder(photos).load("train")


def test_its_name_says_folder_split_size_color_and_content(photos: Path) -> None:
    assert dataset_class("folder") is Folder
    save_classes(photos, {f"c{c}": 2 for c in range(3)})
    name = Folder(photos, image_size=32, channels=1).protocol_name
    assert re.fullmatch(r"folder-My-photos-test-only-32-gray-[0-9a-f]{8}", name)
    assert re.fullmatch(r"folder-My-photos-random-84-[0-9a-f]{8}", Folder(photos, "random").protocol_name)
    assert Folder(photos, image_size=32, channels=1).image_shape == (1, 32, 32)
    digest = name[-8:]
    copied = shutil.copytree(photos, photos.parent / "elsewhere" / photos.name)  # other place and times, same pictures
    assert Folder(copied).protocol_name.endswith(digest)
    save(copied / "c1/00.png", Image.new("RGB", (9, 9)))
    assert not Folder(copied).protocol_name.endswith(digest)
    (copied / "c1").rename(copied / "c9")
    assert len({Folder(place).protocol_name for place in (photos, copied)}) == 2


def test_a_rule_that_changes_with_the_number_of_classes_is_announced(photos: Path) -> None:
    save_classes(photos, {f"c{c:02d}": 2 for c in range(14)})

    def said() -> str:
        dataset = Folder(photos, image_size=4)
        return dataset.what_fits(dataset.load("test"))

    assert "All classes are for the test (14 classes, 15 are the limit): --split random divides them." in said()
    save_classes(photos, {"c14": 2})
    assert "divided at random (15 classes, 15 are the limit): --split test-only tests on all of them." in said()
    named = Folder(photos, "random", image_size=4)
    assert "limit" not in named.what_fits(named.load("test"))


def test_without_a_folder_it_asks_for_one(photos: Path) -> None:
    dataset = Folder()
    assert not dataset.is_present()
    assert dataset.location() is None
    with pytest.raises(DataError, match="say where your images are"):
        dataset.load("test")
    assert not Folder(photos).is_present()
    with pytest.raises(DataError, match="neither a folder of images nor a CSV file"):
        Folder(photos).load("test")


@pytest.mark.parametrize(("image_size", "channels"), [(0, 3), (84, 2)])
def test_impossible_shapes_are_refused(photos: Path, image_size: int, channels: int) -> None:
    with pytest.raises(DataError, match="channels 1 or 3"):
        Folder(photos, image_size=image_size, channels=channels)


def test_nothing_is_written_into_the_users_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEWSHOT_CACHE")
    monkeypatch.setenv("FEWSHOT_DATA", str(photos.parent / "data"))
    save_classes(photos, {"a": 2, "b": 2})
    before = sorted(photos.rglob("*"))
    Folder(photos).load("test")
    assert sorted(photos.rglob("*")) == before


def test_hidden_files_other_files_and_empty_folders_are_no_images(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 3, ".thumbnails": 4, "__MACOSX": 1})
    save(photos / "a/.hidden.png")
    save(photos / "a/below/in a folder.PNG")
    save(photos / "beside the classes.png")
    write_csv(photos / "a/notes.txt", ["text"])
    (photos / "empty").mkdir()
    image_set = Folder(photos).load("test")
    assert image_set.class_names == ("a", "b")
    assert image_set.class_sizes.tolist() == [3, 3]
    told = Folder(photos).check()
    assert [line.split(":")[0] for line in told] == [
        "1 left out (.txt is no picture that is read)",
        "1 left out (in no class folder)",
        "1 folders hold no image",
    ]


def test_given_subfolders_divide_the_classes(photos: Path) -> None:
    save_classes(photos, {"train/a": 2, "train/b": 3, "validation/c": 2, "test/d": 4})
    dataset = Folder(photos)
    assert [dataset.load(split).class_names for split in SPLITS] == [("a", "b"), ("c",), ("d",)]
    assert Folder(photos, "given").load("test").class_sizes.tolist() == [4]
    assert Folder(photos, "test-only").load("test").class_names == ("a", "b", "c", "d")
    assert dataset.check() == []


def test_a_class_in_two_splits_is_named(photos: Path) -> None:
    save_classes(photos, {"train/cat": 2, "train/dog": 2, "test/cat": 2})
    with pytest.raises(DataError, match="1 classes are in several splits: cat"):
        Folder(photos).load("test")
    assert "cat" in Folder(photos).check()[0]
    assert Folder(photos, "test-only").load("test").class_sizes.tolist() == [4, 2]  # pooled


def test_class_folders_beside_split_folders_are_named(photos: Path) -> None:
    save_classes(photos, {"train/a": 2, "test/b": 2, "c": 2})
    with pytest.raises(DataError, match="holds c beside test, train"):
        Folder(photos).load("test")


def test_folders_called_train_and_test_that_hold_images_are_classes(photos: Path) -> None:
    save_classes(photos, {"train": 2, "bus": 2})
    assert Folder(photos).load("test").class_names == ("bus", "train")


def test_given_without_splits_says_how_to_give_them(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    with pytest.raises(DataError, match="gives no split: make subfolders train, val and test, or a CSV column split"):
        Folder(photos, "given").load("test")


def test_no_class_folder_says_where_images_belong(photos: Path) -> None:
    save(photos / "loose.png")
    with pytest.raises(DataError, match="put the images of each class into a folder of its own"):
        Folder(photos).load("test")


def test_random_divides_in_the_proportions_of_miniimagenet_and_always_alike() -> None:
    names = [f"class {c}" for c in range(100)]
    divided = divide_at_random(names)
    assert [len(divided[split]) for split in SPLITS] == [64, 16, 20]
    assert sorted(name for part in divided.values() for name in part) == sorted(names)
    assert divide_at_random(names[::-1]) == divided
    assert [len(divide_at_random(list("abc"))[split]) for split in SPLITS] == [1, 1, 1]
    # the order of `printf 0:a | sha256sum` and so on is h f g l d m j a i o c k b e n
    assert divide_at_random(list("abcdefghijklmno"))["val"] == ["f", "h"]
    assert divide_at_random(list("abcdefghijklmno"))["test"] == ["d", "g", "l"]
    with pytest.raises(DataError, match="2 classes cannot be divided"):
        divide_at_random(["a", "b"])


def test_auto_divides_at_random_from_15_classes_on(photos: Path) -> None:
    save_classes(photos, {f"c{c:02d}": 1 for c in range(14)})
    assert Folder(photos, image_size=4).load("test").num_classes == 14
    save_classes(photos, {"c14": 1})
    assert [Folder(photos, image_size=4).load(split).num_classes for split in SPLITS] == [10, 2, 3]
    assert Folder(photos, "random", image_size=4).load("val").num_classes == 2


def test_class_names_are_the_same_on_a_mac(photos: Path) -> None:
    save_classes(photos, {unicodedata.normalize("NFD", "Bär"): 2})
    assert Folder(photos).load("test").class_names == (unicodedata.normalize("NFC", "Bär"),)


def test_a_csv_file_lists_images_labels_and_splits(photos: Path) -> None:
    save_classes(photos, {"heap": 4})
    elsewhere = photos.parent / "elsewhere.png"
    save(elsewhere)
    lines = ["\ufefffilename,label,split", "heap/00.png,a,train", "heap/03.png,b,test", "heap/01.png,b,Test"]
    path = write_csv(photos / "all.csv", [*lines, "heap/02.png,c,validation", f"{elsewhere},a,train", ""])
    train, val, test = (Folder(path).load(split) for split in SPLITS)
    assert (train.class_names, val.class_names, test.class_names) == (("a",), ("c",), ("b",))
    assert train.class_sizes.tolist() == [2]
    from_folder = Folder(photos).load("test")
    np.testing.assert_array_equal(test.images.numpy(), from_folder.images.numpy()[[1, 3]])  # in the order of file names
    assert Folder(path).protocol_name.startswith("folder-all-given-84-")


def test_a_csv_file_without_splits_is_divided_like_a_folder(photos: Path) -> None:
    save_classes(photos, {"heap": 2})
    path = write_csv(photos / "all.csv", ["label,filename,remark", "b,heap/00.png,x", "a,heap/01.png,y"])
    assert Folder(path).load("test").class_names == ("a", "b")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,class", "0.png,a"], "has no column filename and no column label: .* it names file, class"),
        (["filename,class", "0.png,a"], "has no column label"),
        ([], "it names nothing"),
        (["filename,label"], "lists no image"),
        (["filename,label", "0.png,"], r"1 lines without a file name or label: 0\.png"),
        (["filename,label", "0.png,a", "0.png,b"], r"once \(1 of them under several labels\): 0\.png"),
        (["filename,label", "0.png,a", "./0.png,a", "x/../0.png,a"], r"once: \./0\.png = 0\.png = x/\.\./0\.png"),
        (["filename,label", "0.png,pug, red", "1.png,b"], r"line 2, has 3 values and the first line 2"),
        (["filename,label", "0.png,a", '1.png,"b', "2.png,b"], r"line 3: a value goes on over the end of the line"),
        (["filename,label", "0.png,a\0b"], r"line 2: .* null character"),
        (["filename,label,label", "0.png,a,all"], r"two columns label"),
        (["filename,label,split", "0.png,a,dev"], r"says split 'dev' of 0\.png: valid are train, val, test"),
        (["filename,label,split", "0.png,a,train", "1.png,a,test"], "1 classes are in several splits: a"),
        (["filename,label", "heap/00.png,a", "1.png,a", "2.png,a"], r"2 missing images: 1\.png, 2\.png"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_explained(lines: list[str], message: str, photos: Path) -> None:
    save_classes(photos, {"heap": 1})
    path = write_csv(photos / "all.csv", lines)
    with pytest.raises(DataError, match=message) as caught:
        Folder(path).load("test")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_csv_is_explained(photos: Path) -> None:
    save(photos / "a.png")
    with pytest.raises(DataError, match="is not a CSV file in UTF-8"):
        Folder(photos / "a.png").load("test")


def test_a_second_start_decodes_nothing_and_a_changed_file_is_seen(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    first = Folder(photos).load("test")
    with monkeypatch.context() as patched:
        patched.setattr("episodes.datasets.folder.dataset.fill_or_raise", None)  # calling it would fail
        assert Folder(photos).load("test").fingerprint == first.fingerprint
    save(photos / "a/00.png", Image.new("RGB", (9, 9)))
    changed = Folder(photos).load("test")
    assert changed.fingerprint != first.fingerprint
    assert Folder(photos, image_size=8).load("test").image_shape == (3, 8, 8)
    assert Folder(photos, channels=1).load("test").image_shape == (1, 84, 84)
    (photos / "b/00.png").rename(photos / "a/09.png")
    assert Folder(photos).load("test").class_sizes.tolist() == [3, 1]


def test_every_file_is_read_once_to_tell_the_folder_from_others_and_that_is_seen(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 3})
    listener = Seen()
    dataset = open_dataset(str(photos), reporter=listener)
    assert listener.seen == [("reading every image once", 2, 5), ("reading every image once", 5, 5)]
    assert dataset.protocol_name == Folder(photos).protocol_name
    open_dataset(str(photos), reporter=listener)
    assert len(listener.seen) == 2


class Seen(Listener):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def data_progress(self, what: str, done: int, total: int) -> None:
        self.seen.append((what, done, total))


def test_a_change_that_keeps_names_and_sizes_is_seen(photos: Path) -> None:
    for name, color in (("a", 10), ("b", 20)):
        save(photos / name / "0.bmp", Image.new("L", (9, 9), color))
    assert Folder(photos).load("test").images[:, 0, 0, 0].tolist() == [10, 20]
    save(photos / "a/0.bmp", Image.new("L", (9, 9), 30))
    assert Folder(photos).load("test").images[:, 0, 0, 0].tolist() == [30, 20]
    path = write_csv(photos / "all.csv", ["filename,label", "a/0.bmp,x", "b/0.bmp,y"])
    assert Folder(path).load("test").images[:, 0, 0, 0].tolist() == [30, 20]
    write_csv(path, ["filename,label", "a/0.bmp,y", "b/0.bmp,x"])
    assert Folder(path).load("test").images[:, 0, 0, 0].tolist() == [20, 30]
    write_csv(path, ["filename,label", "a/0.bmp,z", "b/0.bmp,x"])
    assert Folder(path).load("test").class_names == ("x", "z")


def test_the_data_set_can_be_pickled(photos: Path) -> None:
    save_classes(photos, {"a": 2, "b": 2})
    dataset = pickle.loads(pickle.dumps(Folder(photos, image_size=8)))
    assert dataset.load("test").image_shape == (3, 8, 8)


def test_classes_of_a_single_image_are_named_by_the_check(photos: Path) -> None:
    save_classes(photos, {"a": 1, "b": 2})
    assert Folder(photos).check() == ["1 classes have a single image, too few for an episode: a"]


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            [12, 5, 7],
            "3 test classes, 5 to 12 images each: up to 3-way. "
            "1 shot leaves up to 4 queries per class, 5 shots need 1 more in 'class1'.",
        ),
        (
            [20] * 7,
            "7 test classes, 20 images each: up to 7-way. "
            "1 shot leaves up to 19 queries per class, 5 shots leave up to 15.",
        ),
        (
            [3, 1],
            "2 test classes, 1 to 3 images each: no episode fits, because a class needs 2 images or more and "
            "'class1' has 1.",
        ),
        ([9], "1 test classes, 9 images each: no episode fits, because it takes 2 classes or more."),
    ],
)
def test_what_fits_tells_way_shot_and_query(sizes: list[int], sentence: str) -> None:
    assert what_fits("test", [f"class{c}" for c in range(len(sizes))], sizes) == sentence
