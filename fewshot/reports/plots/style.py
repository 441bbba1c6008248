"""What all drawn figures share: one way to a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from episodes.errors import DataError, UserError
from episodes.files import put_in_place, scratch_file

SAME_BYTES = {"svg.hashsalt": "fewshot", "svg.fonttype": "none"}
"""Under these settings the same figure is the same SVG, with its text as text."""


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG or PNG, by the suffix of ``path``: whole or not at all, the same bytes every time.

    Returns ``path``. Raises UserError for another suffix, DataError where it cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise UserError(f"{path}: a picture is written as .png or .svg")
    with mpl.rc_context(SAME_BYTES), picture_file(path) as scratch:
        figure.savefig(scratch, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return path


@contextmanager
def picture_file(path: Path) -> Iterator[Path]:
    """A file to write a picture into, which gets its name when it is whole. Raises DataError for a folder."""
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file for the picture, such as {path / 'picture.png'}")
    with scratch_file(path.parent) as scratch:
        yield scratch
        put_in_place(scratch, path)
