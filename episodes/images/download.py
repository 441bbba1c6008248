"""Fetch a file with a checksum, going on where a transfer was cut; unpack a zip or tar file safely.

Whatever happens, even a kill, ``target`` is whole or not there. What has arrived of a file lies in ``<target>.part``.
By hand, because the libraries that fetch (pooch, torchvision) begin a cut transfer from the start.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import logging
import math
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from io import FileIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from filelock import FileLock, Timeout

from episodes.errors import DataError
from episodes.files import put_in_place
from episodes.images.zip_files import UNREADABLE, check_member
from episodes.progress import Progress, silent

log = logging.getLogger(__name__)

UNCHECKED = "unchecked"  # in place of a checksum that nobody has published
MOST_UNPACKED = 8 << 30  # bytes of all files of an archive together
_TAR = (".tar", ".tar.gz", ".tgz")
_CHUNK = 1 << 16
_BLOCK = 4096  # bytes: what a small file takes on most disks
_SILENCE = 20.0  # seconds without a byte after which a connection counts as lost
_ATTEMPTS = 4  # in a row that bring nothing new, before an address is given up
_FIRST_PAUSE = 1.0  # seconds before the next attempt; doubles while nothing new comes
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class _UnusableError(Exception):
    """Why an address gives no file. The text completes the sentence that the address begins."""


class _InterruptedError(Exception):
    """A transfer that broke off and may go on."""


class _UnreachableError(_InterruptedError):
    """No connection could be made."""


def _md5_of(path: Path, wanted: str) -> str:
    if wanted == UNCHECKED:
        return UNCHECKED
    with path.open("rb") as file:
        # not for security: that the published checksum is an MD5 is not ours to choose
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _disk_error(error: OSError, folder: Path, needed: int) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = max(1, math.ceil(needed / 1e6))
        return DataError(
            f"the disk is full: {size} MB are needed in {folder}. Make room there, or point FEWSHOT_DATA elsewhere, "
            "and run the command again"
        )
    return DataError(f"cannot write into {folder}: {error.strerror}")


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Wait until nobody else, in this process or another, works on ``target``; makes its folder.

    Raises DataError when the folder cannot be written. The lock is the operating system's own and dies with its owner.
    """
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("another process works on %s; waiting for it", target)
            lock.acquire()
    except OSError as error:
        raise _disk_error(error, target.parent, 1) from error
    try:
        yield
    finally:
        lock.release()


def fetch(url: str, target: Path, *, md5: str, progress: Progress = silent) -> Path:
    """The file at ``target``, fetched unless it is already there.

    The file takes its name only once it has the checksum ``md5``, in hexadecimal digits. With ``md5=UNCHECKED`` it is
    the caller who must see whether the file is the right one.
    A cut transfer goes on where it broke off, now or in the next call; ``progress`` counts bytes.
    Raises DataError when the address does not give the file, the disk is full, or another file lies at ``target``.
    """
    if _already_there(target, md5):
        return target
    with only_one(target):
        if _already_there(target, md5):  # whoever held the lock has fetched it
            return target
        part = target.with_name(f"{target.name}.part")
        try:
            _fetch_from(url, part, md5, progress)
        except _UnusableError as error:
            raise DataError(
                f"cannot fetch {target.name}: {url} {error}. Try again later, or put the file at {target} by hand"
            ) from error
        put_in_place(part, target)
    return target


def _already_there(target: Path, md5: str) -> bool:
    if not target.exists():
        return False
    if (found := _md5_of(target, md5)) != md5:
        raise DataError(f"{target} has the md5 {found}, not {md5}: delete it and try again")
    return True


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch_from(url: str, part: Path, md5: str, progress: Progress) -> None:
    """Fill ``part`` with the whole file, checked; raises _UnusableError when this address does not give it."""
    before = most = _size(part)
    idle, from_the_start = 0, False
    while True:
        resumed = _size(part) > 0
        try:
            _transfer(url, part, progress)
        except _InterruptedError as error:
            idle = 0 if _size(part) > most else idle + 1
            most = max(most, _size(part))
            if idle == _ATTEMPTS or (isinstance(error, _UnreachableError) and most == before):
                kept = f" ({_size(part) / 1e6:.1f} MB have arrived and are kept)" if _size(part) else ""
                raise _UnusableError(f"{error}{kept}") from error
            time.sleep(_FIRST_PAUSE * 2**idle)
            continue
        found = _md5_of(part, md5)
        if found == md5:
            return
        part.unlink()
        if not resumed or from_the_start:
            raise _UnusableError(f"gives a file with the md5 {found}, not {md5}")
        from_the_start = True  # the part may have been of another file; once more without it


def _transfer(url: str, part: Path, progress: Progress) -> None:
    """Append to ``part`` what is missing, or write it anew where the server cannot send a rest."""
    done = _size(part)
    response = _open(url, done)
    if response is None:
        return
    with response:
        if not (resuming := response.status == 206):
            done = 0
        chunk = _read(response)
        is_page = response.headers.get_content_type() == "text/html" or (not resuming and chunk.lstrip()[:1] == b"<")
        if is_page:
            raise _UnusableError("gives a web page instead of the file; a proxy or a login page may be in between")
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else 0  # 0: not told
        with _opened(part, "a" if resuming else "w") as file:
            while chunk:
                _write(file, chunk, part.parent, total - done)
                done += len(chunk)
                progress(f"fetching {part.stem}", done, max(total, done))
                chunk = _read(response)
    if done < total:
        raise _InterruptedError(f"breaks off after {done} of {total} bytes")


def _open(url: str, start: int) -> Any:
    """The server's answer, from byte ``start`` on where it can; None where it says that there is no more."""
    headers = {"User-Agent": "fewshot-bench"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is the whole file, or of another one: the checksum will tell
            return None
        answer = f"answers {error.code} {error.reason}"
        raise (_InterruptedError if error.code in _WORTH_ANOTHER_TRY else _UnusableError)(answer) from error
    except urllib.error.URLError as error:
        raise _UnreachableError(f"cannot be reached ({error.reason}; is there a network?)") from error
    except (OSError, HTTPException) as error:
        raise _InterruptedError(f"breaks off ({error})") from error
    except ValueError as error:
        raise _UnusableError(f"is no address ({error})") from error


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read1(_CHUNK))  # what is there: waiting for a full chunk would lose it in a cut
    except (OSError, HTTPException) as error:
        raise _InterruptedError(f"breaks off ({error})") from error


def _opened(part: Path, mode: str) -> FileIO:
    try:
        return FileIO(part, mode)
    except OSError as error:
        raise _disk_error(error, part.parent, 1) from error


def _write(file: FileIO, chunk: bytes, folder: Path, needed: int) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise _disk_error(error, folder, max(needed, len(chunk))) from error


def unpack(archive: Path, target: Path, folder: str = "", progress: Progress = silent) -> Path:
    """Make ``target`` a folder with what an archive holds in ``folder`` (all of it by default), whole or not at all.

    What lay at ``target`` before is replaced. Raises DataError, and unpacks nothing, when the archive is damaged,
    when any member would land outside the target or is a link, or when the disk is full.
    """
    fresh, replaced = (target.with_name(f".{target.name}.{state}") for state in ("unpacking", "replaced"))
    with only_one(target):
        shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
        try:
            kind = _unpack_tar if archive.name.endswith(_TAR) else _unpack_zip
            kind(archive, fresh, PurePosixPath(folder), progress)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        fresh.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    return target


def _unpack_zip(archive: Path, target: Path, folder: PurePosixPath, progress: Progress) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            _unpack_members(opened, _safe_members(opened, folder), target, progress)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"{archive} is not a whole zip file ({error}): delete it and fetch it again") from error


def _safe_members(archive: zipfile.ZipFile, folder: PurePosixPath) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files below ``folder`` with their paths relative to it; every member is looked at before any is unpacked."""
    members = []
    for member in archive.infolist():
        anywhere = PureWindowsPath(member.filename)  # takes / and \ for separators and knows drives
        if not anywhere.parts:
            raise DataError(f"{archive.filename} is not unpacked: {member.filename!r} is no name of a file")
        if anywhere.drive or anywhere.root or ".." in anywhere.parts:
            raise DataError(f"{archive.filename} is not unpacked: {member.filename!r} points outside its folder")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(
                f"{archive.filename} is not unpacked: {member.filename!r} is a link or a device, not a file"
            )
        check_member(member, MOST_UNPACKED)
        path = PurePosixPath(member.filename)
        if not member.is_dir() and path.is_relative_to(folder):
            members.append((member, path.relative_to(folder)))
    if not members:
        raise DataError(f"{archive.filename} is not unpacked: it holds no files in {folder}/")
    if (size := sum(member.file_size for member, _ in members)) > MOST_UNPACKED:
        raise DataError(f"{archive.filename} is not unpacked: {size:,} bytes, {MOST_UNPACKED:,} are the most")
    return members


def _unpack_members(
    archive: zipfile.ZipFile,
    members: list[tuple[zipfile.ZipInfo, PurePosixPath]],
    target: Path,
    progress: Progress,
) -> None:
    for done, (member, path) in enumerate(members, start=1):
        file = target / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, file.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except OSError as error:
            blocks = sum(math.ceil(rest.file_size / _BLOCK) for rest, _ in members)
            raise _disk_error(error, target.parent, blocks * _BLOCK) from error
        if done % 500 == 0 or done == len(members):
            progress(f"unpacking {Path(archive.filename or '').name}", done, len(members))


def _unpack_tar(archive: Path, target: Path, folder: PurePosixPath, progress: Progress) -> None:
    """Files alone are written, each where its name says below ``folder``; a name that leads elsewhere is refused."""
    size, name = archive.stat().st_size, archive.name
    written = 0
    try:
        with archive.open("rb") as packed, tarfile.open(fileobj=packed) as opened:
            for member in opened:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(f"{archive} is not unpacked: {member.name!r} points outside its folder")
                if not (member.isfile() and path.is_relative_to(folder)):
                    continue
                if (written := written + member.size) > MOST_UNPACKED:
                    raise DataError(f"{archive} is not unpacked: more than {MOST_UNPACKED:,} bytes")
                source = opened.extractfile(member)
                assert source is not None  # of a file there is one
                _write_out(source, target / path.relative_to(folder), member.size)
                progress(f"unpacking {name}", min(packed.tell(), size - 1), size)
            while opened.fileobj is not None and opened.fileobj.read(_CHUNK):  # to the checksum of gzip
                pass
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{archive} is not a whole tar file ({reason}): delete it and fetch it again") from error
    if not target.exists():
        raise DataError(f"{archive} is not unpacked: it holds no files in {folder}/")
    progress(f"unpacking {name}", size, size)


def _write_out(source: Any, file: Path, size: int) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    except gzip.BadGzipFile:  # an OSError, but none of the disk
        raise
    except OSError as error:
        raise _disk_error(error, file.parent, size) from error
