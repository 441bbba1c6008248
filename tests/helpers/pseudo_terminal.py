"""A command in a terminal of its own, and what it wrote there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path

from forked import FORKED


def in_terminal(code: str, *words: str, columns: int, folder: Path, settings: Mapping[str, str] | None = None) -> str:
    """Run Python ``code`` with arguments; all that it wrote, escapes included, lines ending with \\n."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment = kept | {"TERM": "xterm-256color"} | dict(settings or {})
    process = FORKED.Process(target=_run, args=(os.ttyname(terminal), code, words, folder, environment))
    process.start()
    written = b""
    while screen in (ready := wait([screen, process.sentinel])) or process.sentinel not in ready:
        written += os.read(screen, 65536)
    process.join()
    os.close(terminal)
    os.close(screen)
    return written.decode().replace("\r\n", "\n")


def _run(terminal: str, code: str, words: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
    """In a process that has left its terminal for this one."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(opened, stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *words]
    exec(code, {"__name__": "__main__"})


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
