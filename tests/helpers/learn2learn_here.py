"""learn2learn in tests: without it they are skipped; where it is installed and does not import, they fail."""

from __future__ import annotations

from types import ModuleType

import pytest

from fewshot.models.learn2learn_adapter import import_learn2learn, what_is_absent


def need_learn2learn() -> ModuleType:
    """learn2learn itself; asked for inside a test, since importing it takes seconds."""
    if absent := what_is_absent():
        pytest.skip(absent)
    return import_learn2learn()
