from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.files import sha256_of
from episodes.images import array_cache as cache
from episodes.images.array_cache import Decoder, cached_image_set
from episodes.images.decoding import Images
from episodes.progress import Progress
from episodes.types import DataError, ImageSet
from forked import FORKED
from full_disk import no_space

PIXELS = (np.arange(5 * 2 * 3 * 4) % 251).astype(np.uint8).reshape(5, 2, 3, 4)


def decoder(pixels: Images = PIXELS, on_fill: Callable[[], object] = lambda: None) -> Decoder:
    def fill(array: Images, progress: Progress) -> None:
        half = len(array) // 2
        array[:half] = pixels[:half]
        on_fill()
        array[half:] = pixels[half:]
        progress("decoding", len(array), len(array))

    return Decoder((2, 3, 4), np.asarray([0, 2, 5], np.int64), ("one", "two"), fill)


def refuse() -> Decoder:
    raise AssertionError("decoded again")


def load(directory: Path, make_decoder: Callable[[], Decoder] = decoder, key: str = "toy-train@v1") -> ImageSet:
    return cached_image_set(directory, key, "toy", "train", make_decoder)


def assert_whole(image_set: ImageSet) -> None:
    assert np.array_equal(image_set.images.numpy(), PIXELS)
    assert image_set.class_starts.tolist() == [0, 2, 5]
    assert image_set.class_names == ("one", "two")
    assert (image_set.dataset, image_set.split) == ("toy", "train")


def array_in(directory: Path) -> Path:
    (path,) = directory.glob("*.npy")
    return path


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_the_second_start_decodes_nothing_and_reads_nothing_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(tmp_path)
    assert_whole(first)
    monkeypatch.setattr(cache, "sha256_of", refuse)
    second = load(tmp_path, refuse)
    assert_whole(second)
    assert second.fingerprint == first.fingerprint == sha256_of(array_in(tmp_path))
    assert names_in(tmp_path) == [f"toy-train@v1-{first.fingerprint[:12]}.npy", "toy-train@v1.json"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("class_names", ["two", "one"]), ("class_starts", [0, 3, 5]), ("array", "../elsewhere.npy"), ("sha256", "0" * 64)],
)
@pytest.mark.parametrize("old", [False, True])
def test_an_index_that_is_not_what_was_written_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: object, old: bool
) -> None:
    folder = tmp_path / "cache"
    load(folder)
    (path,) = folder.glob("*.json")
    index = json.loads(path.read_text()) | {name: value}
    if name == "array":
        (tmp_path / "elsewhere.npy").write_bytes(array_in(folder).read_bytes())
        status = (tmp_path / "elsewhere.npy").stat()
        index["stamp"] = [status.st_size, status.st_mtime_ns]
    if old and name.startswith("class"):
        return  # without a digest nothing tells
    if old:
        del index["digest"]
    path.write_text(json.dumps(index))
    with caplog.at_level(logging.WARNING):
        assert_whole(load(folder))
    assert "damaged or gone: it is made anew" in caplog.text
    assert_whole(load(folder, refuse))


def test_an_index_older_than_digests_is_read(tmp_path: Path) -> None:
    load(tmp_path)
    (path,) = tmp_path.glob("*.json")
    index = json.loads(path.read_text())
    del index["digest"]
    path.write_text(json.dumps(index))
    assert_whole(load(tmp_path, refuse))


def test_progress_is_told_while_decoding(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    cached_image_set(tmp_path, "toy", "toy", "train", decoder, lambda *what: told.append(what))
    assert told == [("decoding", 5, 5)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's list of mapped files")
def test_the_images_are_memory_mapped(tmp_path: Path) -> None:
    image_set = load(tmp_path)
    assert str(array_in(tmp_path)) in Path("/proc/self/maps").read_text()
    del image_set


def test_writing_into_the_images_does_not_reach_the_file(tmp_path: Path) -> None:
    load(tmp_path).images.fill_(7)
    assert_whole(load(tmp_path, refuse))
    assert np.array_equal(np.load(array_in(tmp_path)), PIXELS)


def test_another_key_is_decoded_apart(tmp_path: Path) -> None:
    load(tmp_path)
    other = load(tmp_path, lambda: decoder(255 - PIXELS), key="toy-train@v2")
    assert np.array_equal(other.images.numpy(), 255 - PIXELS)
    assert_whole(load(tmp_path, refuse))


@pytest.mark.parametrize("key", ["", "../toy", "a b", "a/b", "toy\n"])
def test_a_key_that_is_no_file_name_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="must be usable as a file name"):
        load(tmp_path, key=key)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: os.truncate(path, 100),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["a flipped bit", "cut", "empty", "gone"],
)
def test_a_damaged_array_is_noticed_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]
) -> None:
    load(tmp_path)
    time.sleep(0.02)  # longer than a tick of the file system's clock
    damage(array_in(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert_whole(load(tmp_path))
    assert "it is made anew" in caplog.text
    assert_whole(load(tmp_path, refuse))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"array": 1}', '"text"', "\udcff", '{"array": "toy'])
def test_a_damaged_index_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    load(tmp_path)
    (tmp_path / "toy-train@v1.json").write_bytes(content.encode(errors="surrogateescape"))
    assert_whole(load(tmp_path))
    assert "it is made anew" in caplog.text
    assert_whole(load(tmp_path, refuse))


def test_a_first_start_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path)
    assert not caplog.records


def test_an_array_with_another_time_stamp_is_read_through_once_and_then_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is after a copy to another machine, or when two processes wrote the same array at once."""
    load(tmp_path)
    os.utime(array_in(tmp_path), (1, 1))
    assert_whole(load(tmp_path, refuse))
    monkeypatch.setattr(cache, "sha256_of", refuse)
    assert_whole(load(tmp_path, refuse))


def test_an_array_with_another_time_stamp_in_a_read_only_cache_serves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path)
    os.utime(array_in(tmp_path), (1, 1))

    def read_only(*_: object) -> None:
        raise DataError("cannot write")

    monkeypatch.setattr(cache, "write_atomically", read_only)
    for _ in range(2):
        assert_whole(load(tmp_path, refuse))


@pytest.mark.parametrize("step", ["os.posix_fallocate", "os.fsync", "episodes.images.array_cache.write_atomically"])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(step, no_space, raising=False)
    with pytest.raises(DataError, match=r"0 MB are needed in .*: No space left on device\. Make room") as caught:
        load(tmp_path)
    assert "FEWSHOT_CACHE" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == []
    monkeypatch.undo()
    assert_whole(load(tmp_path))


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_room_is_asked_for_before_the_decoding_starts(tmp_path: Path) -> None:
    """A real refusal of the operating system, for a file larger than allowed."""

    def fill(array: Images, progress: Progress) -> None:
        raise AssertionError(f"filled {array.shape} all the same, {progress}")

    large = Decoder((1, 1000, 1000), np.asarray([0, 50], np.int64), ("one",), fill)
    with files_no_larger_than(1_000_000), pytest.raises(DataError, match="50 MB are needed in"):
        load(tmp_path, lambda: large)
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write into .*file"):
        load(tmp_path / "file" / "cache")


def test_a_decoder_that_fails_leaves_nothing_behind_and_its_own_error(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("picture 3 is damaged")

    with pytest.raises(OSError, match="picture 3 is damaged"):
        load(tmp_path, lambda: decoder(on_fill=fail))
    assert names_in(tmp_path) == []
    assert_whole(load(tmp_path))


def be_killed_in_the_middle(directory: Path) -> None:
    load(directory, lambda: decoder(on_fill=lambda: os.kill(os.getpid(), signal.SIGKILL)))


def test_nothing_is_taken_for_whole_after_a_kill_in_the_middle(tmp_path: Path) -> None:
    process = FORKED.Process(target=be_killed_in_the_middle, args=(tmp_path,))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [""], "the killed one got as far as a scratch file"
    assert_whole(load(tmp_path))
    assert_whole(load(tmp_path, refuse))


def build_with_another(directory: Path, meeting_point: Path) -> str:
    """Decode, but wait in the middle until both processes are there."""

    def wait_for_the_other() -> None:
        (meeting_point / str(os.getpid())).touch()
        deadline = time.monotonic() + 100
        while len(list(meeting_point.iterdir())) < 2:
            assert time.monotonic() < deadline, "the other process never came"
            time.sleep(0.01)

    image_set = load(directory, lambda: decoder(on_fill=wait_for_the_other))
    assert_whole(image_set)
    return image_set.fingerprint


def test_two_processes_that_build_the_same_array_at_once_do_no_harm(tmp_path: Path) -> None:
    directory, meeting_point = tmp_path / "cache", tmp_path / "meeting"
    meeting_point.mkdir()
    with ProcessPoolExecutor(2, mp_context=FORKED) as pool:
        first, second = pool.map(build_with_another, [directory] * 2, [meeting_point] * 2)
    assert first == second
    assert len(list(meeting_point.iterdir())) == 2, "both have decoded"
    assert names_in(directory) == [f"toy-train@v1-{first[:12]}.npy", "toy-train@v1.json"]
    assert_whole(load(directory, refuse))


def test_the_array_file_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """Its SHA-256 is the fingerprint, and that goes into every record: with another header records would not match."""
    assert load(tmp_path).fingerprint == "3427fdccae627870de8e50be7de80f60fb07a7d4454b136d01daa01584b6ac74"
    index = json.loads((tmp_path / "toy-train@v1.json").read_text())
    assert index["sha256"] == hashlib.sha256(array_in(tmp_path).read_bytes()).hexdigest()


def test_images_of_no_class_are_no_obstacle(tmp_path: Path) -> None:
    starts = np.asarray([0, 0, 1], np.int64)
    image_set = load(tmp_path, lambda: Decoder((1, 1, 1), starts, ("none", "one"), lambda array, _: array.fill(3)))
    assert torch.equal(image_set.images, torch.tensor([[[[3]]]], dtype=torch.uint8))
    assert image_set.class_sizes.tolist() == [0, 1]
