"""A file server on this machine that misbehaves in the ways servers do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Serves ``content`` at every address, and counts. The attributes say how it misbehaves."""

    daemon_threads = True

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.files: dict[str, bytes] = {}  # by path; every other path has the content
        self.content_type = "application/zip"
        self.knows_ranges = True
        self.cut_after: list[int] = []  # bytes of the body after which each of the next answers breaks off
        self.statuses: list[int] = []  # of the next answers, instead of the content
        self.bytes_sent = 0
        self.ranges: list[str | None] = []  # asked for, one entry per request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.zip"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the game."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Not into the test's output."""

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_ranges else 0
        content = server.files.get(self.path, server.content)
        if server.statuses or start >= len(content):
            self.send_response(server.statuses.pop(0) if server.statuses else 416)
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.content_type:
            self.send_header("Content-Type", server.content_type)
        self.end_headers()
        body = body[: server.cut_after.pop(0)] if server.cut_after else body
        server.bytes_sent += len(body)
        self.wfile.write(body)


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A running server, stopped at the end."""
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
