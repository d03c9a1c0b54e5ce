"""A question to Patroni's REST interface that never waits: a loop with a selector carries it out.

The time for all of it is limited, and so is the size of the answer, since a Patroni that hangs, or sends its
answer byte by byte, must not hold up a probe or a scrape. A question is HTTP/1.0, so that the end of the
connection is the end of the answer.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time

from entrypoint.light import NamedTuple, re
from entrypoint.settings.failing_over import Failover

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_PORT = 8008
_MOST = 256 * 1024
"""Bytes of an answer."""
_ALL = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - to connect to, as ourselves
_HEAD = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]@]+):([0-9]{1,5})(/.*)?")


class Answer(NamedTuple):
    """An answer."""

    status: int
    body: bytes


class Place(NamedTuple):
    """Where a Patroni answers."""

    host: str
    port: int
    tls: bool
    certificate: str = ""
    """The file of the certificate that we show, with its key; empty: none."""
    key: str = ""
    password: str = ""


def own(node: Failover) -> Place:
    """Return where this node's Patroni answers."""
    host, _, port = str(node.values.get(("restapi", "listen"), "")).rpartition(":")
    host = host.strip("[]")
    shown = (str(node.values.get(("ctl", each), "")) for each in ("certfile", "keyfile", "keyfile_password"))
    number = int(port) if port.isdecimal() else _PORT
    return Place(_ALL.get(host, host), number, ("restapi", "certfile") in node.values, *shown)


def other(node: Failover, url: str) -> Place | None:
    """Return where another node's Patroni answers, by its address in the DCS; None: that is no address."""
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found[3]) < 65536:
        return None
    return own(node)._replace(host=found[2].strip("[]"), port=int(found[3]), tls=found[1] == "https")


class Asking:
    """One question: `then` gets its answer once; None: there is none within `seconds`.

    The loop calls the data of each key of the selector with the mask of its events, and `on_time` at
    `deadline`. The begin may call `then` already.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        place: Place,
        path: str,
        then: Callable[[Answer | None], None],
        seconds: float,
    ) -> None:
        self.deadline = time.monotonic() + seconds
        self._selector = selector
        self._place = place
        self._then = then
        self._unsent = f"GET {path} HTTP/1.0\r\nHost: {place.host}\r\nConnection: close\r\n\r\n".encode()
        self._received = bytearray()
        self._socket: socket.socket | ssl.SSLSocket | None = None
        self._is_encrypted = not place.tls
        self._begin()

    def on_time(self, now: float) -> None:
        """Give up at the deadline."""
        if now >= self.deadline and self._then is not _nobody:
            self._end(None)

    def _begin(self) -> None:
        try:
            family, kind, number, _, address = socket.getaddrinfo(
                self._place.host, self._place.port, type=socket.SOCK_STREAM
            )[0]
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number)
            self._socket = made
            if made.connect_ex(address) not in (0, errno.EINPROGRESS):
                self._end(None)
                return
            self._selector.register(made, selectors.EVENT_WRITE, self._on_events)
        except (OSError, UnicodeError):
            self._end(None)

    def _on_events(self, _mask: int) -> None:
        try:
            if not self._is_encrypted:
                self._encrypt()
            elif self._unsent:
                self._send()
            else:
                self._receive()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:  # also of TLS, which may want to write before it can read
            wish = _wish(error)
            if wish is None:
                self._end(None)
            elif self._socket is not None:
                self._selector.modify(self._socket, wish, self._on_events)

    def _encrypt(self) -> None:
        import ssl  # only if Patroni has a certificate

        assert self._socket is not None
        if not isinstance(self._socket, ssl.SSLSocket):
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            plain = self._socket
            self._selector.unregister(plain)
            self._socket = None
            try:
                self._socket = _context(self._place).wrap_socket(plain, do_handshake_on_connect=False)
            except (OSError, ValueError):
                plain.close()
                raise
            self._selector.register(self._socket, selectors.EVENT_WRITE, self._on_events)
        self._socket.do_handshake()
        self._is_encrypted = True
        self._selector.modify(self._socket, selectors.EVENT_WRITE, self._on_events)

    def _send(self) -> None:
        assert self._socket is not None
        self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if not self._unsent:
            self._selector.modify(self._socket, selectors.EVENT_READ, self._on_events)

    def _receive(self) -> None:
        assert self._socket is not None
        while True:  # TLS may hold more than the socket, so until there is nothing
            data = self._socket.recv(65536)
            self._received += data
            if not data or len(self._received) > _MOST:
                break
        self._end(None if data else _answer(bytes(self._received)))

    def _end(self, answer: Answer | None) -> None:
        if self._socket is not None:
            if self._socket.fileno() >= 0 and self._socket in self._selector.get_map():
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        then, self._then = self._then, _nobody
        then(answer)


def _nobody(_answer: Answer | None) -> None:
    """Take an answer that nobody waits for."""


def _wish(error: OSError) -> int | None:
    """Return for which event TLS waits; None: the error is another one."""
    name = type(error).__name__
    return {"SSLWantReadError": selectors.EVENT_READ, "SSLWantWriteError": selectors.EVENT_WRITE}.get(name)


def _context(place: Place) -> ssl.SSLContext:
    """Return how to speak TLS: we send no secret, and no certificate is for a container's own address."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if place.certificate:
        context.load_cert_chain(place.certificate, place.key or None, place.password or None)
    return context


def _answer(received: bytes) -> Answer | None:
    head, found, body = received.partition(b"\r\n\r\n")
    status = _HEAD.match(head + b"\r\n")
    return Answer(int(status[1]), body) if found and status is not None else None
