"""A page is a name and ``render(records)``: its files by name. One loop writes files, one checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from episodes.errors import UserError
from episodes.files import write_all
from fewshot.records.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Content: TypeAlias = "str | Callable[[], Figure]"
"""A text, or what draws a picture: no wider than a phone, five inches, so that its words can be read there."""
_SCALE = 1.4  # how much larger pictures are where there is room


@dataclass(frozen=True)
class Page:
    """``render`` makes of all records the files of the page, by name; none where there is nothing to show."""

    name: str
    render: Callable[[Iterable[RunRecord]], Mapping[str, Content]]


def write_files(files: Mapping[Path, Content]) -> list[Path]:
    """Write all files or, on a full disk, none; their paths."""
    write_all(bytes_of(files))
    return list(files)


def bytes_of(files: Mapping[Path, Content]) -> dict[Path, bytes]:
    """What is written into each file; pictures are drawn here."""
    return {path: _bytes(path, content) for path, content in files.items()}


def check_files(files: Mapping[Path, Content], remedy: str) -> None:
    """Raise UserError, with the remedy, where a text on the disk is another or a file is absent.

    Pictures are not compared: another version of the library that draws them writes other bytes.
    """
    for path, content in files.items():
        if not path.is_file() or (isinstance(content, str) and path.read_bytes() != content.encode()):
            raise UserError(f"{path} is not what the records say: run {remedy}")


def _bytes(path: Path, content: Content) -> bytes:
    if isinstance(content, str):
        return content.encode()
    from fewshot.reports.plots.inline_svg import svg_file

    assert path.suffix == ".svg", f"pictures of pages are light or dark as the page is: {path}"
    return svg_file(content(), scale=_SCALE).encode()
