"""Processes that a test lets die: found by what they were started as."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def processes(words: str, under: int | None = None) -> list[int]:
    """Those whose command line has these words and that come from this process, or from that one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if words in (folder / "cmdline").read_text().replace("\0", " "):
                found.append(int(folder.name))
    return [pid for pid in found if (under or os.getpid()) in ancestors(pid)]


def ancestors(pid: int) -> list[int]:
    """The process that started it, the one that started that, and so on."""
    found: list[int] = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def wait_until(true: Callable[[], object], seconds: float = 200.0) -> None:
    """Look again and again; an error where it does not come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
