"""How every figure looks and is saved: the same bytes each time, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from episodes.errors import DataError, UserError
from episodes.files import put_in_place, scratch_file
from fewshot.reports.colors import GRID, INK, MUTED

_UNDATED = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}  # what would change from day to day


class Drawing(Figure):
    """A figure that a notebook shows, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        return encode(self, Path("figure.png"))


def plain(axes: Axes) -> None:
    """As in the report: a pale grid, no frame, numbers and labels a shade paler than titles."""
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelcolor=MUTED)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(MUTED)
    axes.title.set_color(INK)


def encode(figure: Figure, path: Path) -> bytes:
    """The file of a figure, SVG, PDF or PNG by the suffix of ``path``. Raises UserError for another suffix."""
    form = path.suffix.lower().removeprefix(".")
    if form not in _UNDATED:
        raise UserError(f"{path}: a picture is written as .png, .svg or .pdf")
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "fewshot", "svg.fonttype": "none", "pdf.fonttype": 42}):  # text as text
        figure.savefig(content, format=form, metadata={_UNDATED[form]: None})
    return content.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, PDF or PNG, by the suffix of ``path``: whole or not at all.

    Returns ``path``. Raises UserError for another suffix, DataError where it cannot be written.
    """
    with picture_file(path) as scratch:
        scratch.write_bytes(encode(figure, path))
    return path


@contextmanager
def picture_file(path: Path) -> Iterator[Path]:
    """A file to write a picture into, which gets its name when it is whole. Raises DataError for a folder."""
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file for the picture, such as {path / 'picture.png'}")
    with scratch_file(path) as scratch:
        yield scratch
        put_in_place(scratch, path)
