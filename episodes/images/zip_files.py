"""Zip files that others made: how much is unpacked of a member at most, and what reading one may raise."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from typing import cast

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What zipfile, and those who make sense of a member, raise on damaged, encrypted and hostile archives."""

_UNPACKED_BY_AND_BY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_member(member: zipfile.ZipInfo, most: int) -> None:
    """Raise ValueError for a member of more than ``most`` bytes once unpacked, as it says itself.

    And for one packed in a way that makes gigabytes of a few bytes at once, however few are asked for: bzip2 and LZMA.
    """
    if member.file_size > most:
        raise ValueError(f"{member.filename!r} has {member.file_size:,} bytes once unpacked, {most:,} are the most")
    if member.compress_type not in _UNPACKED_BY_AND_BY:
        raise ValueError(
            f"{member.filename!r} is packed by method {member.compress_type}: stored and deflated are read"
        )


def open_member(archive: zipfile.ZipFile, name: str, most: int) -> zipfile.ZipExtFile:
    """A member to be read in parts. Raises what ``UNREADABLE`` names."""
    check_member(archive.getinfo(name), most)
    return cast(zipfile.ZipExtFile, archive.open(name))


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A whole member. A size that it does not keep to is no matter. Raises what ``UNREADABLE`` names."""
    with open_member(archive, name, most) as file:
        return file.read(archive.getinfo(name).file_size)  # without a number all of it is unpacked, and then cut
