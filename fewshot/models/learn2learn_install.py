"""How learn2learn is installed, and what of it is missing: needs neither it nor torch."""

from __future__ import annotations

import importlib.util

BUILD_TOOLS = ("pip", "cython", "setuptools", "wheel")
NEEDS = ("gym", "requests", "scipy", "tqdm")
"""What learn2learn imports; more is on its own list of requirements and is never used here."""

RECIPE = (
    f"pip install --upgrade {' '.join(BUILD_TOOLS)}",
    f"pip install {' '.join(NEEDS)}",
    "pip install --no-build-isolation --no-deps -C--global-option=build_ext learn2learn==0.2.0",
)
"""Commands that install it. The C files in its archive are too old for Python 3.11; ``build_ext`` makes new ones."""


def how_to_install() -> str:
    """The commands, in one line."""
    return "`make setup` installs it, or by hand: " + " && ".join(RECIPE)


def what_is_absent() -> str:
    """What is not installed and how to install it, in one line; empty where everything is."""
    absent = [name for name in ("learn2learn", *NEEDS) if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed; {how_to_install()}" if absent else ""
