"""Omniglot: a small stand-in of six characters for what can go wrong, the real drawings for what must be right."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.datasets.omniglot import dataset as omniglot
from episodes.datasets.omniglot.card import PARTS
from episodes.datasets.omniglot.dataset import (
    DRAWERS,
    Character,
    Omniglot,
    characters,
    split_characters,
    vinyals_ids,
)
from episodes.types import SPLITS, DataError, Split
from misbehaving_server import Server, serving

SMALL = tuple(
    character
    for class_split, split in (("lake", "train"), ("lake", "val"), ("vinyals", "test"), ("vinyals", "val"))
    for character in split_characters(class_split, split)[:2]  # type: ignore[arg-type]
)


def drawing_of(character: Character, drawer: int) -> Image.Image:
    """Paper with a black square in the upper left whose size tells the drawings of a character apart."""
    paper = np.full((105, 105), 255, np.uint8)
    paper[: 20 + drawer, : 20 + character.id % 7] = 0
    return Image.fromarray(paper).convert("1")


def write_small(folder: Path) -> None:
    for character in SMALL:
        for drawer in range(1, DRAWERS + 1):
            file = folder / character.file(drawer)
            file.parent.mkdir(parents=True, exist_ok=True)
            drawing_of(character, drawer).save(file)


@pytest.fixture
def small_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a whole Omniglot of eight characters."""
    monkeypatch.delenv("FEWSHOT_CACHE", raising=False)
    monkeypatch.setattr(omniglot, "characters", lambda: SMALL)
    write_small(tmp_path / "omniglot-py")
    return tmp_path


def test_the_package_knows_the_1623_characters_of_50_alphabets() -> None:
    assert [character.id for character in characters()] == list(range(1, 1624))
    for part, num_characters, num_alphabets in zip(PARTS, (964, 659), (30, 20), strict=True):
        found = [character for character in characters() if character.part == part]
        assert len(found) == num_characters
        assert len({character.alphabet for character in found}) == num_alphabets


@pytest.mark.parametrize(("class_split", "counts"), [("vinyals", (1028, 172, 423)), ("lake", (964 - 158, 158, 659))])
def test_the_splits_share_no_character_and_leave_none_out(class_split: str, counts: tuple[int, int, int]) -> None:
    ids = [[character.id for character in split_characters(class_split, split)] for split in SPLITS]
    assert tuple(len(part) for part in ids) == counts
    assert sorted(id for part in ids for id in part) == list(range(1, 1624))


def test_vinyals_test_characters_are_the_last_423() -> None:
    assert vinyals_ids("test") == frozenset(range(1201, 1624))


def test_lake_validates_on_every_sixth_background_alphabet_and_splits_no_alphabet() -> None:
    background = sorted({character.alphabet for character in characters() if character.part == PARTS[0]})
    alphabets = {split: {found.alphabet for found in split_characters("lake", split)} for split in SPLITS}
    assert alphabets["val"] == set(background[5::6])
    assert alphabets["train"] == set(background) - alphabets["val"]
    assert alphabets["test"].isdisjoint(background)
    assert len(alphabets["test"]) == 20


def test_ink_is_255_on_paper_0_and_a_class_is_turned_counterclockwise(small_root: Path) -> None:
    found = Omniglot(small_root).load("val")
    names = found.class_names[:4]
    assert names == tuple(f"{SMALL[-2].name}{turn}" for turn in ("", "@90", "@180", "@270"))
    corners = [(0, 0), (27, 0), (27, 27), (0, 27)]  # (row, column): upper left, lower left, lower right, upper right
    for class_id, inked in enumerate(corners):
        image = found.images[found.class_starts[class_id], 0]
        assert [int(image[corner]) for corner in corners] == [255 if corner == inked else 0 for corner in corners]


def test_an_image_is_the_drawing_turned_at_full_size_and_then_made_small(small_root: Path) -> None:
    found = Omniglot(small_root).load("val")
    for row in (0, 27, 45, 79, 80, 159):
        class_id, drawer = divmod(row, DRAWERS)
        raw = np.asarray(drawing_of(SMALL[-2 + class_id // 4], drawer + 1).convert("L"))
        turned = np.ascontiguousarray(np.rot90(255 - raw, class_id % 4))
        expected = np.asarray(Image.fromarray(turned).resize((28, 28), Image.Resampling.LANCZOS))
        assert (found.images[row, 0].numpy() == expected).all()


def test_lake_has_no_turned_classes(small_root: Path) -> None:
    for split, chosen in (("train", SMALL[:2]), ("val", SMALL[2:4]), ("test", SMALL[4:6])):
        found = Omniglot(small_root, "lake").load(split)  # type: ignore[arg-type]
        assert set(found.class_names) >= {character.name for character in chosen}
        assert not any("@" in name for name in found.class_names)
        assert (found.class_sizes == DRAWERS).all()


def test_the_root_may_be_the_folder_itself(small_root: Path) -> None:
    assert Omniglot(small_root / "omniglot-py").is_present()
    inner = Omniglot(small_root / "omniglot-py").load("test")
    assert inner.fingerprint == Omniglot(small_root).load("test").fingerprint


def test_a_second_load_decodes_nothing(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Omniglot(small_root).load("test")
    monkeypatch.setattr(omniglot, "read_drawing", lambda path: pytest.fail(f"{path} was read again"))
    assert Omniglot(small_root).load("test").fingerprint == first.fingerprint


def test_progress_reaches_the_number_of_characters(small_root: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    Omniglot(small_root).load("val", lambda *news: seen.append(news))
    assert seen[-1] == ("decoding omniglot val", 2, 2)


def test_where_there_is_nothing_the_message_says_what_to_do(tmp_path: Path) -> None:
    dataset = Omniglot(tmp_path)
    assert not dataset.is_present()
    with pytest.raises(DataError, match="fewshot data get omniglot") as caught:
        dataset.load("train")
    assert str(tmp_path / "omniglot-py") in str(caught.value)


def test_missing_drawings_are_named(small_root: Path) -> None:
    gone = [SMALL[-1].file(drawer) for drawer in (3, 4)]
    for file in gone:
        (small_root / "omniglot-py" / file).unlink()
    with pytest.raises(DataError, match="2 of 40 drawings are missing") as caught:
        Omniglot(small_root).load("val")
    assert f"{gone[0]}, {gone[1]}" in str(caught.value)
    assert "fewshot data get omniglot" in str(caught.value)


def test_check_names_what_is_missing_damaged_empty_or_of_another_size(small_root: Path) -> None:
    dataset = Omniglot(small_root)
    assert dataset.check() == []
    files = [dataset.location() / SMALL[0].file(drawer) for drawer in range(1, 6)]
    files[0].unlink()
    files[1].write_bytes(b"")
    files[2].write_bytes(files[2].read_bytes()[:60])
    Image.new("1", (105, 105), 1).save(files[3])
    Image.new("1", (28, 28), 0).save(files[4])
    missing, unreadable, empty = dataset.check()
    assert re.fullmatch(rf"1 of \d+ drawings in .* are missing: {SMALL[0].file(1)}", missing)
    assert re.search(
        r"3 of \d+ .* are unreadable: .*02\.png cannot be read .*03\.png cannot .*05\.png .*28x28", unreadable
    )
    assert empty.endswith(f"are empty, they hold no ink: {SMALL[0].file(4)}")


def test_a_clone_of_lakes_repository_is_found(small_root: Path) -> None:
    (small_root / "omniglot").mkdir()
    (small_root / "omniglot-py").rename(small_root / "omniglot" / "python")
    dataset = Omniglot(small_root)
    assert dataset.is_present()
    assert dataset.check() == []


def test_a_damaged_drawing_stops_the_load_and_is_named(small_root: Path) -> None:
    damaged = small_root / "omniglot-py" / SMALL[-1].file(7)
    damaged.write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot be read as an image") as caught:
        Omniglot(small_root).load("val")
    assert str(damaged) in str(caught.value)


def zipped(folder: Path) -> bytes:
    """A part of the data set as its authors pack it: the folder itself is in the archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return packed.getvalue()


@pytest.fixture
def mirror(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with the small Omniglot as two zip files; the data folder is empty afterwards."""
    with serving(b"") as server:
        for part in PARTS:
            server.files[f"/{part}.zip"] = zipped(small_root / "omniglot-py" / part)
        shutil.rmtree(small_root / "omniglot-py")
        md5 = {part: hashlib.md5(server.files[f"/{part}.zip"], usedforsecurity=False).hexdigest() for part in PARTS}
        monkeypatch.setattr(Omniglot, "md5", md5)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("FEWSHOT_OMNIGLOT_URL", server.url.removesuffix("/file.zip") + "/")
        yield server


def test_a_download_ends_in_a_whole_data_set_and_a_second_one_asks_nobody(mirror: Server, small_root: Path) -> None:
    dataset = Omniglot(small_root)
    assert not dataset.is_present()
    seen: list[str] = []
    dataset.download(lambda what, done, total: seen.append(what))
    assert dataset.is_present()
    assert dataset.check() == []
    assert list(dict.fromkeys(seen)) == [f"{verb} {part}.zip" for part in PARTS for verb in ("fetching", "unpacking")]
    dataset.download()
    assert len(mirror.ranges) == 2


def test_a_download_replaces_lost_drawings_from_the_zip_file_it_kept(mirror: Server, small_root: Path) -> None:
    dataset = Omniglot(small_root)
    dataset.download()
    (dataset.location() / SMALL[0].file(1)).unlink()
    dataset.download()
    assert dataset.check() == []
    assert len(mirror.ranges) == 2


def test_a_download_with_another_checksum_leaves_no_data_set(
    mirror: Server, small_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("FEWSHOT_OMNIGLOT_URL", mirror.url.removesuffix("/file.zip"))
    dataset = Omniglot(small_root)
    with pytest.raises(DataError, match="68d2efa1b9178cc56df9314c21c6e718"):
        dataset.download()
    assert not dataset.is_present()


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "num_classes"), [("train", 4112), ("val", 688), ("test", 1692)])
def test_the_real_vinyals_classes_have_20_drawings_and_little_ink(
    real_data_root: Path, split: Split, num_classes: int
) -> None:
    found = Omniglot(real_data_root).load(split)
    assert found.num_classes == num_classes
    assert len(set(found.class_names)) == num_classes
    assert (found.class_sizes == DRAWERS).all()
    assert found.image_shape == (1, 28, 28)
    ink = found.images.flatten(1).float().mean(1) / 255
    assert 0.06 < ink.mean() < 0.12
    assert ink.min() > 0.002
    assert ink.max() < 0.4
    upright = found.images[:DRAWERS, 0]
    for turn in (1, 2, 3):
        turned = found.images[turn * DRAWERS : (turn + 1) * DRAWERS, 0]
        apart = (upright.rot90(turn, (1, 2)).int() - turned.int()).abs().float()
        assert apart.mean() < 2  # not 0: the filter works on rows first, and clips before it works on columns


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "num_classes"), [("train", 806), ("val", 158), ("test", 659)])
def test_the_real_lake_classes(real_data_root: Path, split: Split, num_classes: int) -> None:
    found = Omniglot(real_data_root, "lake").load(split)
    assert found.num_classes == num_classes
    assert len(found.images) == num_classes * DRAWERS


@pytest.mark.real_data
def test_the_real_pixels_are_the_protocol_s_own(
    real_data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other bytes mean another protocol: if this fails on purpose, raise PIXELS_VERSION."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path))
    found = Omniglot(real_data_root, "lake").load("val")
    assert found.fingerprint.startswith("b031a6c88f405e36")


@pytest.mark.real_data
def test_the_real_files_are_whole(real_data_root: Path) -> None:
    assert Omniglot(real_data_root).check() == []
