"""Real targets of messages and pings on this machine: a web server and a mail server that keep what they get."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller

__all__ = ["Mail", "Taken", "Web", "mail", "web"]


class Taken(NamedTuple):
    """A request."""

    method: str
    path: str
    """With its query."""
    body: str


class Web(http.server.ThreadingHTTPServer):
    """A web server that says 200 to all requests, but for some paths."""

    daemon_threads = True

    def __init__(self, address: str, redirects: Mapping[str, str], refused: Sequence[str]) -> None:
        super().__init__((address, 0), _Handler)
        self.taken: list[Taken] = []
        """What a test looks at; it may clear it."""
        self.ever: list[Taken] = []
        self.redirects = redirects
        self.refused = refused
        self.answer = b"{}"

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.server_address[0]!s}:{self.server_port}"

    def paths(self, beginning: str) -> list[str]:
        """Return the paths of all requests that begin like this."""
        return [each.path for each in self.taken if each.path.startswith(beginning)]

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages of apprise's json scheme that were sent to /messages, oldest first."""
        return [json.loads(each.body) for each in self.taken if each.path == "/messages"]

    def pings(self) -> list[str]:
        """Return the paths of all other requests, without their queries."""
        return [each.path.partition("?")[0] for each in self.taken if each.path != "/messages"]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        """Keep a request."""
        length = int(self.headers.get("Content-Length") or 0)
        taken = Taken(self.command, self.path, self.rfile.read(length).decode())
        self.server.taken.append(taken)
        self.server.ever.append(taken)
        where = self.server.redirects.get(self.path)
        self.send_response(403 if self.path in self.server.refused else 302 if where else 200)
        if where:
            self.send_header("Location", where)
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_GET = do_POST  # noqa: N815 - the name that the server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web(
    address: str = "127.0.0.1", redirects: Mapping[str, str] | None = None, refused: Sequence[str] = ()
) -> Iterator[Web]:
    """A web server; everything is closed at the end."""
    server = Web(address, redirects or {}, refused)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Mail:
    """The mails that a mail server has taken."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.place = ""
        """Host and port."""

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it
        """Keep a mail."""
        self.taken.append(BytesParser(policy=default).parsebytes(envelope.content))
        return "250 OK"


@contextmanager
def mail(address: str) -> Iterator[Mail]:
    """A mail server without TLS; it is closed at the end."""
    box = Mail()
    with socket.create_server((address, 0)) as chosen:  # the controller cannot choose a port itself
        port = chosen.getsockname()[1]
    controller = Controller(box, hostname=address, port=port)
    controller.start()
    box.place = f"{address}:{port}"
    try:
        yield box
    finally:
        controller.stop()
