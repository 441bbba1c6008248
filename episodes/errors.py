"""Errors that are meant for the user: one line that says what is wrong and what to do, no traceback."""

import re
from collections.abc import Sequence

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that steer a terminal, or turn the direction of text around, so that it is not what it looks like."""


def visible(text: str) -> str:
    """The text with such characters written out: ``\\x1b``. File names may hold any."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def first_few(names: Sequence[str], limit: int = 5) -> str:
    """``a, b, c and 17 more``."""
    rest = len(names) - limit
    return visible(", ".join(names[:limit])) + (f" and {rest} more" if rest > 0 else "")


class UserError(ValueError):
    """Something the user can mend. The command line prints the message and exits with status 2."""


class EpisodeError(UserError):
    """An episode that cannot be drawn from this image set. The message says what would fit."""


class DataError(UserError):
    """Data that is absent, incomplete or damaged. The message says what to do."""


class Interrupted(Exception):  # noqa: N818 - the user's wish, not an error
    """Stopped at the user's wish, what was done so far saved. The command line exits with status 130."""
