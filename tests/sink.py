"""A web server on this machine that keeps what it is sent: messages and pings."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import s3

__all__ = ["Got", "Sink", "sink"]


class Got(NamedTuple):
    """A request."""

    path: str
    body: str

    @property
    def message(self) -> dict[str, Any]:
        """A message of apprise's json scheme."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Sink:
    """The server and what it got."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.code = 200
        """The answer."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            """Keeps each request."""

            def do_POST(self) -> None:
                """Keep a request and answer."""
                length = int(self.headers.get("Content-Length") or 0)
                outer.got.append(Got(self.path, self.rfile.read(length).decode(errors="replace")))
                self.send_response(outer.code)
                self.end_headers()

            do_GET = do_HEAD = do_POST  # noqa: N815 - their names are given

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((s3.bridge(), 0), Handler)
        self.address = f"{s3.bridge()}:{self.server.server_address[1]}"

    def messages(self) -> list[dict[str, Any]]:
        """The messages, oldest first."""
        return [each.message for each in self.got if each.path == "/messages"]

    def paths(self) -> list[str]:
        """The paths of all other requests, without their queries."""
        return [each.path.partition("?")[0] for each in self.got if each.path != "/messages"]


@contextmanager
def sink() -> Iterator[Sink]:
    """A server that is reached from containers."""
    made = Sink()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()
