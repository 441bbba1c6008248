"""Fetching from a server on this machine that misbehaves in the ways servers do."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes.images import download
from episodes.images.download import fetch, only_one
from episodes.types import DataError
from misbehaving_server import Server, serving

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "file.zip"


def part_of(target: Path) -> Path:
    return target.with_name("file.zip.part")


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def failure(action: Callable[[], object]) -> str:
    """The message of the DataError that the action must raise; it is one line."""
    with pytest.raises(DataError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_arrives_whole_and_progress_counts_its_bytes(server: Server, target: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    fetch(server.url, target, md5=MD5, progress=lambda *news: seen.append(news))
    assert target.read_bytes() == CONTENT
    assert visible(target.parent) == ["file.zip"]
    assert seen[-1] == ("fetching file.zip", len(CONTENT), len(CONTENT))
    assert all(total == len(CONTENT) for _, _, total in seen)


def test_a_file_that_is_there_is_not_fetched_again(server: Server, target: Path) -> None:
    fetch(server.url, target, md5=MD5)
    fetch(server.url, target, md5=MD5)
    assert len(server.ranges) == 1


def test_another_file_in_the_place_is_named_and_left_alone(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"the user's own")
    message = failure(lambda: fetch(server.url, target, md5=MD5))
    assert str(target) in message
    assert MD5 in message
    assert "delete it" in message
    assert target.read_bytes() == b"the user's own"


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, target: Path) -> None:
    message = failure(lambda: fetch(server.url, target, md5="0" * 32))
    assert f"{server.url} gives a file with the md5 {MD5}, not {'0' * 32}" in message
    assert visible(target.parent) == []
    assert len(server.ranges) == 1


def test_a_cut_transfer_goes_on_where_it_broke_off(server: Server, target: Path) -> None:
    server.cut_after = [100_000, 50_000]
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.bytes_sent == len(CONTENT)


def test_a_later_call_goes_on_with_what_has_arrived(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:200_000])
    seen: list[tuple[str, int, int]] = []
    fetch(server.url, target, md5=MD5, progress=lambda *news: seen.append(news))
    assert target.read_bytes() == CONTENT
    assert server.bytes_sent == 100_000
    assert seen[0][1] > 200_000
    assert seen[-1][1:] == (len(CONTENT), len(CONTENT))


def test_a_part_that_is_already_whole_only_takes_its_name(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT
    assert server.bytes_sent == 0


@pytest.mark.parametrize("size", [1000, 400_000])
def test_a_part_of_another_file_is_dropped_and_the_file_fetched_from_the_start(
    server: Server, target: Path, size: int
) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(bytes(size))
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={size}-", None]


def test_a_server_that_ignores_ranges_sends_the_file_anew(server: Server, target: Path) -> None:
    server.knows_ranges = False
    server.cut_after = [100_000]
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT
    assert server.bytes_sent == 100_000 + len(CONTENT)


def test_a_server_that_always_breaks_off_at_the_same_byte_is_given_up_and_the_part_kept(
    server: Server, target: Path
) -> None:
    server.knows_ranges = False
    server.cut_after = [100_000] * 100
    message = failure(lambda: fetch(server.url, target, md5=MD5))
    assert "breaks off after 100000 of 300000 bytes (0.1 MB have arrived and are kept)" in message
    assert len(server.ranges) < 10
    assert part_of(target).read_bytes() == CONTENT[:100_000]


def test_a_busy_server_is_asked_again(server: Server, target: Path) -> None:
    server.statuses = [503, 429]
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT


def test_an_address_that_fails_is_named_with_its_reason(server: Server, target: Path) -> None:
    server.statuses = [404]
    message = failure(lambda: fetch(server.url, target, md5=MD5))
    assert f"{server.url} answers 404 Not Found" in message
    assert f"put the file at {target} by hand" in message


@pytest.mark.parametrize(
    ("content_type", "page"), [("text/html; charset=utf-8", b"Please log in"), ("", b"\n<!DOCTYPE html><html></html>")]
)
def test_a_web_page_instead_of_the_file_is_refused_and_spares_what_has_arrived(
    server: Server, target: Path, content_type: str, page: bytes
) -> None:
    server.knows_ranges = False
    server.content, server.content_type = page, content_type
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:10])
    message = failure(lambda: fetch(server.url, target, md5=MD5))
    assert f"{server.url} gives a web page instead of the file" in message
    assert f"put the file at {target} by hand" in message
    assert part_of(target).read_bytes() == CONTENT[:10]


def test_without_a_network_one_line_names_the_address_and_the_way_by_hand(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("who is offline need not wait"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.zip"
    message = failure(lambda: fetch(url, target, md5=MD5))
    assert re.search(rf"{url} cannot be reached \(.*refused.*; is there a network\?\)", message)
    assert f"put the file at {target} by hand" in message


def test_an_address_that_is_none_is_named(target: Path) -> None:
    assert "not-an-address is no address" in failure(lambda: fetch("not-an-address", target, md5=MD5))


def test_a_mirror_may_be_a_folder_on_this_machine(target: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror.zip").write_bytes(CONTENT)
    fetch((tmp_path / "mirror.zip").as_uri(), target, md5=MD5)
    assert target.read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_says_how_much_is_needed_where(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    server.content = bytes(2_100_000)
    message = failure(lambda: fetch(server.url, target, md5=MD5))
    assert f"the disk is full: 3 MB are needed in {target.parent}" in message
    assert not target.exists()


def test_after_a_full_disk_the_transfer_goes_on(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NearlyFull(io.FileIO):
        def write(self, data: Any) -> int:
            if (room := 100_000 - self.tell()) == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:room])

    with monkeypatch.context() as full:
        full.setattr(download, "FileIO", NearlyFull)
        assert "the disk is full" in failure(lambda: fetch(server.url, target, md5=MD5))
    assert part_of(target).read_bytes() == CONTENT[:100_000]
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_a_disk_that_takes_a_little_at_a_time_loses_nothing(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sluggish(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:1000])

    monkeypatch.setattr(download, "FileIO", Sluggish)
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = failure(lambda: fetch(server.url, tmp_path / "file" / "file.zip", md5=MD5))
    assert f"cannot write into {tmp_path / 'file'}" in message


def test_four_at_once_fetch_the_file_once(server: Server, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    threads = [threading.Thread(target=fetch, args=(server.url, target), kwargs={"md5": MD5}) for _ in range(4)]
    with only_one(target):
        for thread in threads:
            thread.start()
        while caplog.text.count("waiting for it") < len(threads):
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert server.bytes_sent == len(CONTENT)
