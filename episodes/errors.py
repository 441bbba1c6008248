"""Errors that are meant for the user: one line that says what is wrong and what to do, no traceback."""


class UserError(ValueError):
    """Something the user can mend. The command line prints the message and exits with status 2."""


class EpisodeError(UserError):
    """An episode that cannot be drawn from this image set. The message says what would fit."""


class DataError(UserError):
    """Data that is absent, incomplete or damaged. The message says what to do."""


class Interrupted(Exception):  # noqa: N818 - the user's wish, not an error
    """Stopped at the user's wish, what was done so far saved. The command line exits with status 130."""
