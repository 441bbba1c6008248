"""The data sets of the field: their class lists, and their files as their authors distribute them."""

from __future__ import annotations

import hashlib
import json
import pickle
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Fewshot
from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS, class_lists
from episodes.datasets.listed import Archive, ListedDataset
from episodes.datasets.tieredimagenet import layouts
from episodes.types import SPLITS, DataError, Split
from listed_builders import (
    CIFAR_NAMES,
    CIFAR_PIXELS,
    REN_CLASSES,
    Lists,
    aircraft,
    cifar_binary,
    cifar_pickles,
    flowers,
    jpeg,
    pets,
    picture,
    ren_folders,
    ren_npz,
    ren_png,
    savemat_in,
    tiny,
)
from miniimagenet_builders import write

COUNTS = {
    ("miniimagenet", "ravi"): (64, 16, 20),
    ("cifar-fs", "bertinetto"): (64, 16, 20),
    ("fc100", "oreshkin"): (60, 20, 20),
    ("cub", "chen"): (100, 50, 50),
    ("tieredimagenet", "ren"): (351, 97, 160),
    ("flowers102", "meta-dataset"): (71, 15, 16),
    ("flowers102", "all"): (0, 0, 102),
    ("aircraft", "meta-dataset"): (70, 15, 15),
    ("aircraft", "all"): (0, 0, 100),
    ("dtd", "meta-dataset"): (33, 7, 7),
    ("dtd", "all"): (0, 0, 47),
    ("eurosat", "all"): (0, 0, 10),
    ("pets", "all"): (0, 0, 37),
    ("gtsrb", "all"): (0, 0, 43),
}
LISTED = sorted({name for name, _ in COUNTS})
SUPERCLASSES = """
beaver dolphin otter seal whale / aquarium_fish flatfish ray shark trout / orchid poppy rose sunflower tulip /
bottle bowl can cup plate / apple mushroom orange pear sweet_pepper / clock keyboard lamp telephone television /
bed chair couch table wardrobe / bee beetle butterfly caterpillar cockroach / bear leopard lion tiger wolf /
bridge castle house road skyscraper / cloud forest mountain plain sea / camel cattle chimpanzee elephant kangaroo /
fox porcupine possum raccoon skunk / crab lobster snail spider worm / baby boy girl man woman /
crocodile dinosaur lizard snake turtle / hamster mouse rabbit shrew squirrel /
maple_tree oak_tree palm_tree pine_tree willow_tree / bicycle bus motorcycle pickup_truck train /
lawn_mower rocket streetcar tank tractor
"""  # of CIFAR-100, as its author lists them


@pytest.fixture(autouse=True)
def _cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))


def test_every_listed_data_set_is_counted_here() -> None:
    kinds = {name: dataset_class(name) for name in DATASETS}
    assert [name for name in kinds if issubclass(kinds[name], ListedDataset)] == LISTED


@pytest.mark.parametrize(("name", "class_split"), COUNTS)
def test_a_class_split_has_as_many_classes_as_published_and_each_once(name: str, class_split: str) -> None:
    card = DATASETS.get(name)
    lists = class_lists(card)[class_split]
    assert tuple(len(lists[split]) for split in SPLITS) == COUNTS[name, class_split]
    every = [found for split in SPLITS for found in lists[split]]
    assert len(every) == len(set(every))
    assert all(lists[split] == sorted(lists[split]) for split in SPLITS)
    (benchmark,) = (found for found in card.benchmarks if found.class_split == class_split)
    assert benchmark.num_test_classes == len(lists["test"])


def test_both_divisions_of_cifar_100_have_its_classes_and_fc100_divides_no_superclass() -> None:
    superclasses = [set(part.split()) for part in SUPERCLASSES.split("/")]
    assert [len(found) for found in superclasses] == [5] * 20
    of_fc100 = class_lists(DATASETS.get("fc100"))["oreshkin"]
    of_fs = class_lists(DATASETS.get("cifar-fs"))["bertinetto"]
    assert {name for names in of_fs.values() for name in names} == set.union(*superclasses)
    whole = {split: sum(found <= set(of_fc100[split]) for found in superclasses) for split in SPLITS}
    assert whole == {"train": 12, "val": 4, "test": 4}
    assert sum(found <= set(of_fs["train"]) for found in superclasses) < 12


def test_cub_divides_its_species_as_chen_et_al_do() -> None:
    lists = class_lists(DATASETS.get("cub"))["chen"]
    numbers = {split: {int(name[:3]) - 1 for name in lists[split]} for split in SPLITS}
    assert numbers == {"train": {*range(0, 200, 2)}, "val": {*range(1, 200, 4)}, "test": {*range(3, 200, 4)}}


@pytest.mark.parametrize("name", LISTED)
def test_missing_files_are_one_line_that_says_where_from_and_where_to(name: str, tmp_path: Path) -> None:
    dataset = dataset_class(name)(tmp_path)
    assert not dataset.is_present()
    with pytest.raises(DataError) as caught:
        dataset.load("test")
    message = str(caught.value)
    assert "\n" not in message
    assert "https://" in message
    assert str(tmp_path) in message
    assert all("not on this machine" in line for line in dataset.check())


CIFAR: Lists = {"train": ["apple", "cloud"], "val": ["bear"], "test": ["baby"]}


@pytest.mark.parametrize("lay_out", [cifar_pickles, cifar_binary])
@pytest.mark.parametrize("name", ["cifar-fs", "fc100"])
def test_cifar_100_is_read_as_pickles_and_as_bytes(name: str, lay_out: Callable[[Path], None], tmp_path: Path) -> None:
    lay_out(tmp_path)
    dataset = tiny(name, CIFAR, tmp_path, each=2)
    assert dataset.is_present()
    assert dataset.check() == []
    for split in SPLITS:
        image_set = dataset.load(split)
        assert image_set.class_names == tuple(CIFAR[split])
        rows = [CIFAR_NAMES.index(found) for found in CIFAR[split]]
        np.testing.assert_array_equal(image_set.images.numpy(), np.concatenate(CIFAR_PIXELS[rows]))
    assert dataset.at_size(84).load("test").images.shape == (2, 3, 84, 84)


def message_of(dataset: ListedDataset, split: Split = "train") -> str:
    with pytest.raises(DataError) as caught:
        dataset.load(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_labels": [0, 1, 2, 9]}, "has labels beyond the 4 names of meta"),
        ({"fine_labels": [0, 1, 2]}, "is not CIFAR-100's: it must hold data, uint8"),
        ({"data": np.zeros((4, 3073), np.uint8)}, "is not CIFAR-100's: it must hold data, uint8"),
        ({"fine_labels": [0, 1, 2, 2]}, r"1 classes do not have 2 images: cloud (0)"),
        ({"fine_labels": Path}, "is refused: it holds pathlib"),
        ({"fine_labels": [0, 1, 2, 2**70]}, "is not CIFAR-100's: it must hold data, uint8"),
    ],
)
def test_a_damaged_pickle_of_cifar_100_is_one_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    cifar_pickles(tmp_path, **changes)
    assert message in message_of(tiny("fc100", CIFAR, tmp_path, each=2))


def test_half_a_binary_file_of_cifar_100_is_one_line(tmp_path: Path) -> None:
    cifar_binary(tmp_path)
    path = tmp_path / "cifar-100-binary" / "test.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert "test.bin is not CIFAR-100's, or not whole: 12,295 bytes" in message_of(tiny("fc100", CIFAR, tmp_path))


REN: Lists = {split: sorted(classes) for split, classes in REN_CLASSES.items()}


@pytest.mark.parametrize("lay_out", [ren_npz, ren_png])
def test_the_caches_of_ren_et_al_give_the_pictures_of_the_folders_in_their_order(
    lay_out: Callable[[Path], None], tmp_path: Path
) -> None:
    lay_out(tmp_path / "caches")
    ren_folders(tmp_path / "folders")
    from_caches = tiny("tieredimagenet", REN, tmp_path / "caches", each=2, total=12)
    assert from_caches.is_present()
    assert from_caches.check() == []
    found = from_caches.load("train")
    assert found.class_names == ("n01532829", "n01558993")
    np.testing.assert_array_equal(
        found.images.numpy(), np.stack([picture(r) for r in (0, 2, 1, 3)]).transpose(0, 3, 1, 2)
    )
    folders = tiny("tieredimagenet", REN, tmp_path / "folders", each=2)
    for split in SPLITS:
        assert folders.load(split).fingerprint == from_caches.load(split).fingerprint
        assert folders.load(split).class_names == from_caches.load(split).class_names == tuple(REN[split])


def first_words() -> dict[str, str]:
    words: dict[str, str] = json.loads((Path(layouts.__file__).parent / "words.json").read_text(encoding="utf-8"))
    return words


def test_each_of_the_608_classes_is_known_by_words_of_its_own() -> None:
    words = first_words()
    (lists,) = class_lists(DATASETS.get("tieredimagenet")).values()
    assert len(words) == 608
    assert sorted(words) == sorted(name for names in lists.values() for name in names)
    assert len({word.lower() for word in words.values()}) == len(words)


@pytest.mark.skipif(find_spec("timm") is None, reason="needs timm")
def test_these_words_are_the_first_that_wordnet_has_of_a_class() -> None:
    """As timm brings WordNet's table along."""
    timm = find_spec("timm")
    assert timm is not None
    assert timm.origin is not None
    lemmas = Path(timm.origin).parent / "data/_info/imagenet_synset_to_lemma.txt"
    table = dict(line.split("\t") for line in lemmas.read_text(encoding="utf-8").splitlines())
    assert first_words() == {wordnet_id: table[wordnet_id].split(",")[0] for wordnet_id in first_words()}


def test_what_is_wrong_with_a_cache_is_one_line(tmp_path: Path) -> None:
    ren_npz(tmp_path / "packed", np.savez_compressed)
    assert "is compressed: load it and save it anew" in message_of(tiny("tieredimagenet", REN, tmp_path / "packed"))
    ren_npz(tmp_path / "cut")
    images, labels = (tmp_path / "cut" / "tiered-imagenet" / f"train_{name}" for name in ("images.npz", "labels.pkl"))
    three_classes = tiny("tieredimagenet", {**REN, "train": ["a", "b", "c"]}, tmp_path / "cut")
    assert "3 of the 3 classes are missing: a, b, c" in message_of(three_classes)
    words = [*REN_CLASSES["train"].values()]
    write(labels, pickle.dumps({"labels": [0, 1, 1], "label_specific_str": words}))
    assert "holds 4 images, " in message_of(tiny("tieredimagenet", REN, tmp_path / "cut"))
    write(labels, pickle.dumps({"labels": [0, 1, 1, 0]}))
    assert "has no word for label 0 (label_specific_str)" in message_of(tiny("tieredimagenet", REN, tmp_path / "cut"))
    nested: list[object] = ["robin"]
    for _ in range(40):  # a few bytes, and a million million words
        nested = [nested, nested]
    write(labels, pickle.dumps({"labels": [0, 1, 1, 0], "label_specific_str": [nested, b"robin"]}))
    assert "has no word for label 0" in message_of(tiny("tieredimagenet", REN, tmp_path / "cut"))
    write(labels, pickle.dumps({"labels": [0, 1, 1, 0], "label_specific_str": [b"robin", b"unicorn"]}))
    assert "calls label 1 'unicorn' (label_specific_str), which names none of the 608 classes" in message_of(
        tiny("tieredimagenet", REN, tmp_path / "cut")
    )
    write(labels, pickle.dumps({"labels": [0, float("inf")]}))
    assert "must hold label_specific (or labels)" in message_of(tiny("tieredimagenet", REN, tmp_path / "cut"))
    write(labels, pickle.dumps({"names": 1}))
    assert "must hold label_specific (or labels)" in message_of(tiny("tieredimagenet", REN, tmp_path / "cut"))
    write(labels, pickle.dumps({"labels": [0, 1, 1, 0], "label_specific_str": words}))
    images.write_bytes(images.read_bytes()[:-400])
    assert "holds no whole array of images" in message_of(tiny("tieredimagenet", REN, tmp_path / "cut"))


def test_flowers_are_labeled_by_a_file_of_matlab(tmp_path: Path) -> None:
    flowers(tmp_path)
    dataset = tiny("flowers102", {"train": ["002.b"], "test": ["001.a"]}, tmp_path, total=4)
    assert dataset.check() == []
    found = dataset.load("test")
    assert (found.class_names, len(found.images)) == (("001.a",), 2)
    second = np.asarray(Image.open(tmp_path / "flowers-102" / "jpg" / "image_00004.jpg"))
    np.testing.assert_array_equal(found.images[1].numpy(), second.transpose(2, 0, 1))
    (tmp_path / "flowers-102" / "jpg" / "image_00003.jpg").unlink()
    assert "1 missing image: jpg/image_00003.jpg" in message_of(dataset)
    savemat_in(tmp_path / "flowers-102" / "imagelabels.mat", other=np.zeros(3))
    assert "imagelabels.mat cannot be read as the labels of Flowers-102 ('labels')" in message_of(dataset, "test")
    write(tmp_path / "flowers-102" / "imagelabels.mat", b"no file of MATLAB")
    assert "imagelabels.mat cannot be read as the labels of Flowers-102" in message_of(dataset, "test")


def test_airplanes_are_cut_to_their_boxes(tmp_path: Path) -> None:
    aircraft(tmp_path)
    lists: Lists = {"train": ["F-16A/B"], "test": ["707-320"]}
    dataset = tiny("aircraft", lists, tmp_path, total=3)
    assert dataset.check() == []
    found = dataset.load("test")
    assert (found.class_names, len(found.images)) == (("707-320",), 2)
    whole = np.asarray(Image.open(tmp_path / "fgvc-aircraft-2013b/data/images/1340192.jpg"))
    np.testing.assert_array_equal(found.images[1].numpy(), whole[10:94, 8:92].transpose(2, 0, 1))
    assert "test: 1 classes do not have 100 images: 707-320 (2)" in tiny("aircraft", lists, tmp_path, 100).check()
    boxes = tmp_path / "fgvc-aircraft-2013b/data/images_box.txt"
    boxes.write_text(boxes.read_text().replace("1340192 9 ", "1340192 "))
    assert "has no box of four numbers for the image 1340192" in message_of(dataset, "test")


def test_pets_are_those_of_the_lists(tmp_path: Path) -> None:
    pets(tmp_path)
    dataset = tiny("pets", {"test": ["Maine_Coon", "beagle"]}, tmp_path, total=3)
    assert dataset.check() == []
    found = dataset.load("test")
    assert (found.class_names, found.class_sizes.tolist()) == (("Maine_Coon", "beagle"), [2, 1])
    assert dataset.num_images == 3
    assert tiny("pets", {"test": ["Maine_Coon", "beagle"]}, tmp_path, total=4).check() == [
        "3 images, not the 4 of Oxford-IIIT Pets"
    ]


@pytest.mark.parametrize(
    ("name", "folder", "ending"),
    [
        ("cub", "CUB_200_2011/images", "jpg"),
        ("dtd", "dtd/dtd/images", "jpg"),
        ("eurosat", "eurosat/2750", "jpg"),
        ("gtsrb", "gtsrb/GTSRB/Training", "ppm"),
        ("gtsrb", "GTSRB/Final_Training/Images", "ppm"),
    ],
)
def test_a_folder_for_each_class_is_read_where_torchvision_and_the_authors_have_it(
    name: str, folder: str, ending: str, tmp_path: Path
) -> None:
    card = DATASETS.get(name)
    first, *others = class_lists(card)[card.class_splits[0]]["test"][:2]
    sign = min(found for names in class_lists(card)[card.class_splits[0]].values() for found in names)
    for row, class_name in enumerate(sorted({first, *others, sign})):
        place = tmp_path / folder / class_name
        place.mkdir(parents=True)
        Image.fromarray(picture(row)).save(place / f"1.{ending}")
        write(place / "GT-00000.csv", b"Filename;Width")
    with pytest.raises(DataError, match=r"of the \d+ classes are missing"):
        dataset_class(name)(tmp_path).load("test")
    dataset = tiny(name, {"test": [first, *others]}, tmp_path)
    assert dataset.is_present()
    assert dataset.location() == tmp_path / folder
    found = dataset.load("test")
    assert (found.class_names, len(found.images)) == ((first, *others), 2)
    assert dataset.protocol_name == f"{name}-{card.class_splits[0]}-{card.image_shape[-1]}"


def test_what_has_no_training_classes_says_what_it_is_for(tmp_path: Path) -> None:
    dataset = dataset_class("dtd")(tmp_path, "all")
    with pytest.raises(DataError, match=r"no train classes \(split all\): .*fewshot evaluate CHECKPOINT --dataset dtd"):
        dataset.load("train")
    assert [line.split(":")[0] for line in dataset.check()] == ["test"]


def test_an_empty_class_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    for name in ("banded", "bumpy", "woven"):
        (tmp_path / "dtd" / "images" / "test" / name).mkdir(parents=True)
    jpeg(tmp_path / "dtd" / "images" / "test" / "banded" / "1.jpg", picture(1))
    (tmp_path / "dtd" / "images" / "banded").mkdir()
    said = message_of(tiny("dtd", {"val": ["woven"], "test": ["banded", "bumpy"]}, tmp_path), "test")
    assert "1 classes do not belong to meta-dataset's test split: woven (val)" in said
    assert "1 classes do not have any images: bumpy (0)" in said


def test_sizes_that_are_offered_and_those_that_are_not(tmp_path: Path) -> None:
    cub = dataset_class("cub")(tmp_path)
    assert cub.at_size(224).protocol_name == "cub-chen-224"
    with pytest.raises(DataError, match="cub comes in 84x84 only"):
        cub.at_size(8)
    with pytest.raises(DataError, match="tieredimagenet comes in 84x84 only"):
        dataset_class("tieredimagenet")(tmp_path).at_size(224)


def test_an_archive_is_fetched_unpacked_and_not_fetched_again(tmp_path: Path) -> None:
    cifar_pickles(tmp_path / "source")
    write(tmp_path / "source" / "cifar-100-python" / "deep" / "more", b"more")
    packed = tmp_path / "cifar.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "source" / "cifar-100-python", "cifar-100-python")
    md5 = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
    dataset = tiny("cifar-fs", CIFAR, tmp_path / "data", each=2)
    assert dataset.downloadable
    type(dataset).archives = (Archive(packed.as_uri(), md5, "cifar-100-python", "cifar-100-python"),)
    dataset.download()
    packed.unlink()
    dataset.download()
    assert dataset.check() == []
    assert (tmp_path / "data" / "cifar-100-python" / "deep" / "more").read_bytes() == b"more"


def test_a_data_set_that_is_not_here_is_one_line_of_a_command(
    fewshot: Fewshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path))
    refused = fewshot("run", "--dataset", "tieredimagenet")
    assert refused.status == 2
    assert refused.error.count("\n") <= 1
    assert f"it must lie in {tmp_path}/tiered-imagenet" in refused.error
    checked = fewshot("data", "check", "gtsrb")
    assert "test: not on this machine" in checked.out
    assert "`fewshot data get gtsrb` fetches it" in checked.err
