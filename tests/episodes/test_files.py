from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from episodes.errors import DataError
from episodes.files import check_writable, put_in_place, remove_left_behind, scratch_file, write_all, write_atomically
from full_disk import no_space


def test_a_file_is_written_into_folders_that_are_made_for_it(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    write_atomically(target, b"content")
    assert target.read_bytes() == b"content"
    assert target.stat().st_mode & 0o777 == 0o644, "others may read it, unlike what mkstemp makes"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_former_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"former")

    monkeypatch.setattr(os, step, no_space)
    monkeypatch.setattr(Path, step, no_space, raising=False)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, b"latter")
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_of_several_files_all_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError):
        write_all({tmp_path / "first": b"1", tmp_path / "file" / "below": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    write_all({tmp_path / "first": b"1", tmp_path / "second": b"2"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "file": b"",
        "first": b"1",
        "second": b"2",
    }


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append((tmp_path / "file").exists()))
    write_atomically(tmp_path / "file", b"content")
    assert seen == [False]


def test_a_scratch_file_is_gone_at_the_end_unless_it_was_put_in_place(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), scratch_file(tmp_path / "whole") as scratch:
        scratch.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with scratch_file(tmp_path / "whole") as scratch:
        assert scratch.parent == tmp_path
        put_in_place(scratch, tmp_path / "whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "whole"]


def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write into .*file.*: \w+") as caught:
        write_atomically(tmp_path / "file" / "below", b"")
    assert "\n" not in str(caught.value)


def test_where_a_file_could_not_be_put_is_told_before_it_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "below" / "file")
    assert not [*tmp_path.iterdir()], "nothing is left of the try"
    (tmp_path / "file").touch()
    for wrong in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="cannot write"):
            check_writable(wrong)


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    left = tmp_path / ".partial-left"
    left.write_bytes(b"half")
    with scratch_file(tmp_path / "first") as first:
        assert not left.exists()
        write_atomically(tmp_path / "second", b"2")
        remove_left_behind(tmp_path)
        assert first.exists()
        put_in_place(first, tmp_path / "first")
    left.write_bytes(b"half")
    remove_left_behind(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/table\.md'"):
        write_atomically(tmp_path / "table.md", b"content")
