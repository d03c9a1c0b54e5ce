"""What the server does at this moment, asked without waiting: one thread answers everybody."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time

from entrypoint.light import NamedTuple
from entrypoint.pid1 import lifecycle, ready, status
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FRESH = 1.0
"""Seconds for which an answer of the server counts; probes ask it only once a second."""
PHASES = (
    *(status.BOOT, status.UPGRADE, status.INIT, status.RESTORE, status.RECOVERY),
    *(lifecycle.STARTDB, lifecycle.SERVING, lifecycle.STOPPING),
)
"""The phases in the order in which they follow each other."""
_PAUSE = 0.1
"""Seconds before the server's socket is tried again whose queue is full."""


class State(NamedTuple):
    """What the server does."""

    phase: str
    """One of PHASES; empty if it is not known."""
    since: int | None
    """When the phase that PID 1 reports began, in seconds since 1970."""
    ready: bool
    """It accepts connections."""
    role: str | None
    """`primary` or `standby`; None: it is not ready, or its role is not known."""
    reason: str = ""
    """Why it is not ready."""
    refused_since: int | None = None
    """Since when writes are refused because the disk is about to be full, in seconds since 1970; None: they
    are not."""

    @property
    def read_only(self) -> bool:
        """Whether a transaction can only read: on a standby, and while writes are refused."""
        return self.role == "standby" or self.refused_since is not None


def state(known: status.Known | None, code: int, word: str, *, guarded: bool = True) -> State:
    """Return the state, from what `ready.look` has returned; `guarded`: a full disk makes it read-only."""
    phase = known.phase if known else ""
    since = known.since if known else None
    if code == ready.READY:
        role = word if word in ("primary", "standby") else None
        full = guarded and known is not None and known.level == room.FULL and role == "primary"
        refused = known.level_since if known is not None and full else None
        return State(phase, since, ready=True, role=role, refused_since=refused)
    if word in PHASES:
        return State(word, since, ready=False, role=None, reason=f"the phase is {word}")
    return State(phase, since, ready=False, role=None, reason=word)


class Live:
    """Asks PID 1 and the server.

    The loop calls the data of each key of the selector with the mask of its events, and `on_time` at `due`.
    """

    def __init__(self, selector: selectors.BaseSelector, data_folder: str, *, guarded: bool = True) -> None:
        self._selector = selector
        self._guarded = guarded
        self._data_folder = data_folder
        self._waiting: list[Callable[[State], None]] = []
        self._state: State | None = None
        """The last answer; it counts until `_until`."""
        self._until = 0.0
        self._known: status.Known | None = None
        self._question: ready.Question | None = None
        """What is asked at present."""
        self._connection: socket.socket | None = None
        self._deadline = 0.0
        self._again: float | None = None
        """When to try the server's socket again."""

    def phase(self) -> str:
        """Return the phase as far as files say it, without asking the server; empty: it is not known."""
        known = status.read(status.RUNTIME_FOLDERS)
        found = ready.question(self._data_folder, known)
        answered = (ready.READY, found.role) if isinstance(found, ready.Question) else found
        return state(known, *ready.after_startdb(known, *answered)).phase

    def ask(self, then: Callable[[State], None]) -> None:
        """Call `then` with the state: at once, or within `ready.SECONDS`."""
        now = time.monotonic()
        if self._state is not None and now < self._until:
            then(self._state)
            return
        self._waiting.append(then)
        if len(self._waiting) == 1:
            self._known = status.read(status.RUNTIME_FOLDERS)
            found = ready.question(self._data_folder, self._known)
            if isinstance(found, ready.Question):
                self._question = found
                self._deadline = now + ready.SECONDS
                self._connect(found.address)
            else:
                self._settle(*found)

    def due(self) -> float | None:
        """Return when to call `on_time`, by the monotonic clock; None: at no time."""
        if self._question is None:
            return None
        return self._deadline if self._again is None else min(self._again, self._deadline)

    def on_time(self, now: float) -> None:
        """Give up on a server that does not answer, or try it again."""
        if self._question is None:
            return
        if now >= self._deadline:
            self._fail(errno.ETIMEDOUT)
        elif self._again is not None and now >= self._again:
            self._connect(self._question.address)

    def _connect(self, address: str | tuple[str, int]) -> None:
        self._again = None
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        try:
            self._connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            code = self._connection.connect_ex(address)
        except OSError as error:
            self._fail(error.errno or errno.EIO)
            return
        if code == errno.EAGAIN:  # a Unix-domain socket with a full queue
            self._close()
            self._again = time.monotonic() + _PAUSE
        elif code in (0, errno.EINPROGRESS):
            self._selector.register(self._connection, selectors.EVENT_WRITE, self._on_writable)
        else:
            self._fail(code)

    def _on_writable(self, _mask: int) -> None:
        if self._connection is None:
            return
        try:
            self._connection.sendall(ready.SSL_REQUEST)
        except OSError as error:  # the reason why it is not connected, if it is not
            self._fail(error.errno or errno.EIO)
        else:
            self._selector.modify(self._connection, selectors.EVENT_READ, self._on_readable)

    def _on_readable(self, _mask: int) -> None:
        if self._connection is None or self._question is None:
            return
        try:
            answer = self._connection.recv(1)
        except OSError as error:
            self._fail(error.errno or errno.EIO)
        else:
            self._settle(*ready.judge(self._question, answer))

    def _fail(self, code: int) -> None:
        self._settle(ready.NO_SERVER, f"no answer: {os.strerror(code)}")

    def _settle(self, code: int, word: str) -> None:
        self._close()
        self._question = None
        settled = ready.after_startdb(self._known, code, word)
        self._state = state(self._known, *settled, guarded=self._guarded)
        self._until = time.monotonic() + FRESH
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(self._state)

    def _close(self) -> None:
        if self._connection is not None:
            if self._connection in self._selector.get_map():
                self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None
