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
from contextlib import suppress
from pathlib import Path


def in_terminal(code: str, *words: str, columns: int, folder: Path, settings: Mapping[str, str] | None = None) -> str:
    """Run Python ``code`` with arguments; all that it wrote, escapes included, lines ending with \\n."""
    process, screen = pty.fork()
    if process == 0:
        with suppress(BaseException):
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.chdir(folder)
            kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
            settings = {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)} | dict(settings or {})
            os.execve(sys.executable, [sys.executable, "-c", code, *words], kept | settings)
        os._exit(1)
    written = b""
    with suppress(OSError):  # of a terminal that is gone
        while part := os.read(screen, 65536):
            written += part
    os.close(screen)
    os.waitpid(process, 0)
    return written.decode().replace("\r\n", "\n")


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
