"""A small HTTP server for probes and metrics: one thread, a selector that others use as well, no surprises.

Each connection has one request, of which at most `wire.MOST` bytes are read. Who sends slowly, does not read
the answer, or holds one of the few places without using it, loses the connection.
"""

from __future__ import annotations

import selectors
import socket
import time

from entrypoint import log
from entrypoint.light import NamedTuple
from entrypoint.web import listening, wire
from entrypoint.web.exchange import Response, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from entrypoint.settings.watching import Address
    from entrypoint.web.exchange import Reply, Request

    Stage = Literal["request", "answer", "sending", "end", "closed"]
    """`answer`: its answer is being made; `end`: everything was sent, but for the client's end."""


class Limits(NamedTuple):
    """The limits of a door; times are in seconds."""

    connections: int = 64
    request: float = 5.0
    """For the whole request."""
    answer: float = 10.0
    """To make the answer."""
    sending: float = 10.0
    """To send the whole answer."""
    end: float = 1.0
    """Between the last byte of the answer and the client's end."""
    grace: float = 0.25
    """After which a connection without a whole request gives its place to another one."""
    queued: int = 4 * 1024 * 1024
    """Bytes of answers that were not sent yet, for all connections together."""
    again: float = 30.0
    """Between two attempts to listen."""


LIMITS = Limits()
_IGNORED = 256 * 1024
"""Bytes that are read after a request and ignored, so that the client sees the answer and not a reset."""
_SHORT = 1.0
"""Seconds without new connections if the process has too many descriptors."""


class _Connection:
    """One connection, with one request."""

    def __init__(self, door: Door, connected: socket.socket, now: float) -> None:
        self.door = door
        self.socket = connected
        self.stage: Stage = "request"
        self.free_from = now + door.limits.grace
        """From when on it may lose its place to another connection."""
        self.deadline = now + door.limits.request
        self.received = b""
        self.ignored = 0
        self.is_head = False
        self.unsent: list[memoryview] = []

    @property
    def queued(self) -> int:
        """Number of bytes to send."""
        return sum(len(each) for each in self.unsent)

    def on_events(self, _mask: int) -> None:
        """Read or write what is possible now; an event may be older than the end of the connection."""
        act = {"request": self._read, "sending": self._send, "end": self._ignore}.get(self.stage)
        try:
            if act is not None:
                act()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _read(self) -> None:
        data = self.socket.recv(wire.MOST + 1 - len(self.received))
        self.received += data
        if data and b"\n" not in data and len(self.received) <= wire.MOST:
            return
        found = wire.parse(self.received)
        if found is None:
            if not data:
                self.close()
            return
        self.is_head = wire.is_head(self.received)
        self.received = b""
        self.stage = "answer"
        self.deadline = time.monotonic() + self.door.limits.answer
        self.door.selector.unregister(self.socket)
        if isinstance(found, Response):
            self.reply(found)
        else:
            self.door.answer(found, self.reply)

    def reply(self, response: Response) -> None:
        """Send the answer; another one is ignored, and so is one that comes too late."""
        if self.stage != "answer":
            return
        now = time.monotonic()
        self.stage = "sending"
        self.free_from, self.deadline = now + self.door.limits.grace, now + self.door.limits.sending
        parts = (wire.head(response, time.time()), b"" if self.is_head else response.body)
        self.unsent = [memoryview(each) for each in parts if each]
        self.door.selector.register(self.socket, selectors.EVENT_WRITE, self.on_events)
        self.on_events(0)
        self.door.shed(self)

    def _send(self) -> None:
        sent = self.socket.sendmsg(self.unsent)
        while self.unsent and sent >= len(self.unsent[0]):
            sent -= len(self.unsent.pop(0))
        if self.unsent:
            self.unsent[0] = self.unsent[0][sent:]
            return
        self.socket.shutdown(socket.SHUT_WR)
        self.stage = "end"
        self.free_from, self.deadline = 0.0, time.monotonic() + self.door.limits.end
        self.door.selector.modify(self.socket, selectors.EVENT_READ, self.on_events)

    def _ignore(self) -> None:
        data = self.socket.recv(65536)
        self.ignored += len(data)
        if not data or self.ignored > _IGNORED:
            self.close()

    def expire(self) -> None:
        """Do what is due at the deadline."""
        if self.stage == "answer":
            self.reply(refusal(503, "the answer took too long", ("Retry-After", "10")))
        else:
            self.close()

    def close(self) -> None:
        """End the connection, also if a fork still has its descriptor."""
        if self.stage == "closed":
            return
        if self.stage != "answer":
            self.door.selector.unregister(self.socket)
        self.stage, self.unsent = "closed", []
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was first
        self.socket.close()
        self.door.forget_connection(self)


class Door:
    """Listens at an address, and gives each request to `answer`.

    `answer` replies at once or later, and raises nothing; if it does not reply in time, the client gets 503.
    The loop calls the data of each key of the selector with the mask of its events, and `on_time` at `due`.
    The first call of `on_time` begins to listen. If that is impossible, there is one warning, and it is tried
    again.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        address: Address,
        answer: Callable[[Request, Reply], None],
        limits: Limits = LIMITS,
    ) -> None:
        self.selector = selector
        self.limits = limits
        self._address = address
        self.answer = answer
        self._listening: list[socket.socket] = []
        self._connections: dict[_Connection, None] = {}
        """Oldest first."""
        self._is_open = False
        """New connections are taken."""
        self._open_at: float | None = 0.0
        """When to listen, or to take new connections again."""
        self._reported = ""
        """Why it was impossible to listen."""

    def due(self) -> float | None:
        """Return when to call `on_time`, by the monotonic clock; None: at no time."""
        times = [each.deadline for each in self._connections]
        return min([*times, *([] if self._open_at is None else [self._open_at])], default=None)

    def on_time(self, now: float) -> None:
        """Do what is due."""
        for each in [each for each in self._connections if now >= each.deadline]:
            each.expire()
        if self._open_at is not None and now >= self._open_at:
            self._open(now)

    def close(self) -> None:
        """End all connections, and listen no longer."""
        self._pause(None)
        for each in [*self._connections]:
            each.close()
        self._open_at = None
        if self._listening:
            listening.end(self._address, self._listening)
        self._listening = []

    def _open(self, now: float) -> None:
        self._open_at = None
        if not self._listening:
            where = listening.named(self._address)
            try:
                self._listening = listening.listen(self._address)
            except OSError as error:
                self._open_at = now + self.limits.again
                reason = error.strerror or f"{error}"
                if reason != self._reported:
                    self._reported = reason
                    hint = listening.hint(self._address, error.errno)
                    log.warning(f"HTTP cannot be served at {where}: {reason}", hint, docs="check-health")
                return
            self._reported = ""
            log.info(f"HTTP is served at {where}")
        for each in self._listening:
            self.selector.register(each, selectors.EVENT_READ, self._on_connection(each))
        self._is_open = True

    def _pause(self, until: float | None) -> None:
        """Take no new connections until then; None: until a place becomes free."""
        if self._is_open:
            for each in self._listening:
                self.selector.unregister(each)
        self._is_open, self._open_at = False, until

    def _on_connection(self, listener: socket.socket) -> Callable[[int], None]:
        def accept(_mask: int) -> None:
            for _ in range(self.limits.connections):
                if not self._is_open or not self._has_place():
                    return
                try:
                    connected, _ = listener.accept()
                except (BlockingIOError, InterruptedError):
                    return
                except ConnectionError:
                    continue
                except OSError:  # no descriptors, no memory
                    self._pause(time.monotonic() + _SHORT)
                    return
                self._begin(connected)

        return accept

    def _has_place(self) -> bool:
        """Return whether another connection can be taken; if all places are taken, one may become free."""
        if len(self._connections) < self.limits.connections:
            return True
        first = min(self._connections, key=_free_from)
        if _free_from(first) <= time.monotonic():
            first.close()
            return True
        self._pause(min(_free_from(first), time.monotonic() + _SHORT))
        return False

    def _begin(self, connected: socket.socket) -> None:
        connected.setblocking(False)  # noqa: FBT003 - that of the standard library
        connection = _Connection(self, connected, time.monotonic())
        self._connections[connection] = None
        self.selector.register(connected, selectors.EVENT_READ, connection.on_events)
        connection.on_events(0)  # the request is there already, as a rule

    def forget_connection(self, connection: _Connection) -> None:
        """Take new connections again, since this one has ended."""
        del self._connections[connection]
        if not self._is_open and self._listening and self._open_at is not None:
            self._open_at = 0.0

    def shed(self, newest: _Connection) -> None:
        """Drop the oldest answers that nobody takes, if too much waits."""
        waiting = [each for each in self._connections if each.unsent and each is not newest]
        total = newest.queued + sum(each.queued for each in waiting)
        for each in waiting:
            if total <= self.limits.queued:
                return
            total -= each.queued
            each.close()


def _free_from(connection: _Connection) -> float:
    return float("inf") if connection.stage == "answer" else connection.free_from
