"""A disk without room."""

from __future__ import annotations

import errno
import os


def no_space(*_: object) -> None:
    """In the place of a function that writes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
