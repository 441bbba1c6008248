"""Unpacking: archives that are whole, damaged or meant to do harm."""

from __future__ import annotations

import errno
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from episodes.images import download
from episodes.images.download import unpack
from episodes.types import DataError


def failure(archive: Path, target: Path, folder: str = "") -> str:
    """The message of the DataError that unpacking must raise; it is one line."""
    with pytest.raises(DataError) as caught:
        unpack(archive, target, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def zip_with(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_an_archive_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "a.zip", ("one/x.txt", b"x"), ("one/deep/er/y.txt", b"y"), ("two/z.txt", b"z"))
    seen: list[tuple[str, int, int]] = []
    unpack(archive, tmp_path / "all", progress=lambda *news: seen.append(news))
    assert (tmp_path / "all" / "one" / "deep" / "er" / "y.txt").read_bytes() == b"y"
    assert (tmp_path / "all" / "two" / "z.txt").read_bytes() == b"z"
    assert seen[-1] == ("unpacking a.zip", 3, 3)


def test_one_folder_of_an_archive_replaces_what_lay_there(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "a.zip", ("one/x.txt", b"x"), ("oneself/y.txt", b"y"), ("__MACOSX/one/x.txt", b"?"))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old.txt").write_bytes(b"old")
    (tmp_path / ".target.unpacking").mkdir()  # of an unpacking that was killed
    (tmp_path / ".target.unpacking" / "half.txt").write_bytes(b"half")
    unpack(archive, tmp_path / "target", "one")
    assert visible(tmp_path / "target") == ["x.txt"]
    assert visible(tmp_path) == ["a.zip", "target"]


@pytest.mark.parametrize("name", ["../evil.txt", "one/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:evil.txt"])
def test_an_archive_that_points_outside_its_folder_is_not_unpacked(tmp_path: Path, name: str) -> None:
    archive = zip_with(tmp_path / "a.zip", ("one/x.txt", b"x"), (name, b"evil"))
    message = failure(archive, tmp_path / "deep" / "target", "one")
    assert "a.zip" in message
    assert "points outside its folder" in message
    assert visible(tmp_path) == ["a.zip", "deep"]
    assert visible(tmp_path / "deep") == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_an_archive_with_a_link_or_a_device_is_not_unpacked(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    archive = zip_with(tmp_path / "a.zip", ("x.txt", b"x"), (link, b"/etc"))
    assert "'link' is a link or a device" in failure(archive, tmp_path / "target")
    assert visible(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("name", ["", ".", "./"])
def test_a_member_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    archive = zip_with(tmp_path / "a.zip", ("x.txt", b"x"), ("?", b"y"))
    archive.write_bytes(archive.read_bytes().replace(b"?", b"." if name else b"\0"))
    if name == "./":
        zip_with(archive, ("x.txt", b"x"), (name, b""))
    assert "is no name of a file" in failure(archive, tmp_path / "target")
    assert visible(tmp_path) == ["a.zip"]


def test_more_bytes_than_the_ceiling_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_UNPACKED", 1000)
    archive = zip_with(tmp_path / "a.zip", ("x.bin", bytes(600)), ("y.bin", bytes(400)))
    unpack(archive, tmp_path / "target")
    zip_with(archive, ("x.bin", bytes(600)), ("y.bin", bytes(401)))
    assert "is not unpacked: 1,001 bytes, 1,000 are the most" in failure(archive, tmp_path / "target")
    zip_with(archive, ("x.bin", bytes(1001)))
    assert "'x.bin' has 1,001 bytes once unpacked, 1,000 are the most" in failure(archive, tmp_path / "target")
    assert visible(tmp_path / "target") == ["x.bin", "y.bin"]


def test_what_is_packed_so_that_a_few_bytes_are_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.bin", bytes(1000))
    assert "'x.bin' is packed by method 12: stored and deflated are read" in failure(
        tmp_path / "a.zip", tmp_path / "target"
    )


def test_a_damaged_archive_leaves_nothing_half(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "a.zip", ("x.txt", b"x"), ("y.bin", bytes(range(256)) * 1000))
    damaged = bytearray(archive.read_bytes())
    damaged[200] ^= 1
    archive.write_bytes(damaged)
    message = failure(archive, tmp_path / "target")
    assert f"{archive} is not a whole zip file" in message
    assert visible(tmp_path) == ["a.zip"]


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    assert "is not a whole zip file" in failure(tmp_path / "a.zip", tmp_path / "target")


def test_an_archive_without_the_folder_asked_for_is_named(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "a.zip", ("one/x.txt", b"x"))
    assert "holds no files in two/" in failure(archive, tmp_path / "target", "two")


def test_a_disk_that_is_full_during_unpacking_keeps_what_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = zip_with(tmp_path / "a.zip", *((f"{number}.txt", b"x") for number in range(1000)))
    (tmp_path / "target").mkdir()
    monkeypatch.setattr(shutil, "copyfileobj", full)
    message = failure(archive, tmp_path / "target")
    assert f"the disk is full: 5 MB are needed in {tmp_path}" in message
    assert visible(tmp_path) == ["a.zip", "target"]


def tar_with(path: Path, *members: tuple[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return path


def test_one_folder_of_a_tar_file_is_unpacked_without_its_links(tmp_path: Path) -> None:
    archive = tar_with(tmp_path / "a.tar.gz", ("one/x", b"x"), ("one/deep/y", b"y"), ("oneself/z", b"z"), link="one/l")
    seen: list[tuple[str, int, int]] = []
    unpack(archive, tmp_path / "target", "one", lambda *news: seen.append(news))
    assert visible(tmp_path / "target") == ["deep", "x"]
    assert (tmp_path / "target" / "deep" / "y").read_bytes() == b"y"
    assert seen[-1] == ("unpacking a.tar.gz", archive.stat().st_size, archive.stat().st_size)


@pytest.mark.parametrize("name", ["../evil", "one/../../evil", "/evil"])
def test_a_tar_file_that_points_outside_its_folder_is_not_unpacked(tmp_path: Path, name: str) -> None:
    archive = tar_with(tmp_path / "a.tgz", ("one/x", b"x"), (name, b"evil"))
    assert "points outside its folder" in failure(archive, tmp_path / "deep" / "target", "one")
    assert visible(tmp_path / "deep") == []
    assert not (tmp_path / "evil").exists()


def test_what_is_wrong_with_a_tar_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 4000
    archive = tar_with(tmp_path / "a.tar.gz", ("one/x", content))
    assert "holds no files in two/" in failure(archive, tmp_path / "target", "two")
    with monkeypatch.context() as patched:
        patched.setattr("episodes.images.download.MOST_UNPACKED", 1000)
        assert "more than 1,000 bytes" in failure(archive, tmp_path / "target", "one")
    whole = archive.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 4):  # in the checksum, too
        archive.write_bytes(whole[:cut])
        assert "is not a whole tar file" in failure(archive, tmp_path / "target", "one")
    archive.write_bytes(b"no archive at all")
    assert "is not a whole tar file" in failure(archive, tmp_path / "target", "one")
    assert visible(tmp_path) == ["a.tar.gz"]
