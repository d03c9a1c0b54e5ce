"""PID 1's part of the log in JSON: the pipes to the process that writes it, its start, and its end.

PID 1 keeps both ends of every pipe, and the container's own standard streams for that process. If it ends, it
is started again: nothing that is still in a pipe is lost, and whoever fills a pipe waits until then.
"""

from __future__ import annotations

import fcntl
import os
import time

from entrypoint import log
from entrypoint.errors import Failure
from entrypoint.light import signal
from entrypoint.logs.places import FILE, FOLDER, INIT, PIPES, SERVER, STREAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.system.children import Children
    from entrypoint.system.identity import Identity

_SIZE = 1024**2
"""Bytes in a pipe, as many as any user may have."""
_FREE = 20
"""Our descriptors are at least this, so that none is one of those that the process gets."""
_PAUSE = 1.0
"""Seconds until a process that ended at once is started again."""
_PATIENCE = 3.0
"""Seconds for the process to write the rest of the log."""


class Keeper:
    """Keeps the process running that writes the log."""

    def __init__(self, descriptors: list[int], source: str) -> None:
        self.descriptors = descriptors
        """The container's own standard streams, and our ends of the pipes."""
        self.source = source
        """Whose lines have no mark."""
        self.argv: list[str] = []
        self.pid = 0
        """0: it is not running."""
        self.children: Children | None = None
        self.who: Identity | None = None
        """The user of the process, if it is not ours yet."""
        self._begun = 0.0
        self._due = 0.0
        self._ends = False

    def run(self, children: Children, argv: list[str], folder: str, who: Identity) -> None:
        """Make the server's pipes in the runtime folder, as its user, and start the process as that user."""
        os.makedirs(f"{folder}/{FOLDER}", 0o700, exist_ok=True)
        for name in (f"{FILE}.json", FILE):
            path = f"{folder}/{FOLDER}/{name}"
            if not os.path.lexists(path):
                os.mkfifo(path, 0o600)
            # Open for both, so that the server never waits for a reader, and never loses one.
            self.descriptors.append(_pipe(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)))
        self.children, self.argv, self.who = children, argv, who
        children.kept = self
        self._start()

    def _start(self) -> None:
        assert self.children is not None
        self._begun = time.monotonic()
        targets = (*STREAMS, *PIPES)
        try:
            self.pid = self.children.spawn(
                [*self.argv, self.source],
                {"LC_ALL": "C"},
                descriptors=dict(zip(targets, self.descriptors, strict=True)),
                become=self.who,
            )
        except Failure:
            self._due = self._begun + _PAUSE

    def look(self, ended: dict[int, int]) -> None:
        """Start the process again if it is among those that have ended."""
        if self._ends:
            return
        now = time.monotonic()
        if (code := ended.pop(self.pid, None)) is not None:
            self.pid = 0
            self._due = now + (_PAUSE if now - self._begun < _PAUSE else 0)
            log.warning(
                f"the process that writes the log ended with code {code} and is started again: what it had "
                "read and not written is lost"
            )
        if not self.pid and now >= self._due:
            self._start()

    def at_most(self, seconds: float | None) -> float | None:
        """Return how long to wait at most, if nothing but this process is due earlier."""
        return seconds if self.pid or self._ends else min(_PAUSE if seconds is None else seconds, _PAUSE)

    def handed(self) -> tuple[list[str], list[int]]:
        """Return what the second half of PID 1 needs to continue."""
        return self.argv, [self.pid, *self.descriptors]

    def give_back(self) -> None:
        """End the process when it has written everything, and write to the container's own streams again."""
        log.give_back = None
        self._ends = True
        done = False
        if self.children is not None and self.pid:
            try:
                os.kill(self.pid, signal.SIGTERM)
                done = self.children.wait(self.pid, seconds=_PATIENCE, stoppable=False) == 0
            except ProcessLookupError:
                pass
            except TimeoutError:
                done = True  # nobody reads
        # A process that has just been started dies of the signal and leaves everything to us.
        rest = [b"", b"", b""] if done else self._rest()
        for stream, standard in ((log.OUT, 1), (log.ERR, 2)):
            os.dup2(self.descriptors[standard - 1], standard)
            stream.own = None
            stream.never_wait()
            stream.put(rest[standard])
        log.drain()

    def _rest(self) -> list[bytes]:
        """Return the objects for each stream that no process was there to write."""
        from entrypoint.logs import jsonlines  # PID 1 needs it only here

        rest = [b"", b"", b""]
        every = jsonlines.inputs(self.descriptors[2:], self.source)
        for each in every:
            while (done := jsonlines.take(each)) is not None:
                rest[each.stream] += done
            rest[each.stream] += each.reader.flush(time.time(), all_=True)
        return rest


def begin() -> Keeper | None:
    """Put pipes in the place of our standard streams; None: we have none.

    They wait for the process, which only starts when its user is known.
    """
    try:
        streams = [_own(os.dup(each)) for each in STREAMS]
    except OSError:
        return None
    pipes = []
    for standard in STREAMS:
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        os.dup2(write, standard)
        os.close(write)
        pipes.append(_pipe(read))
    keeper = Keeper([*streams, *pipes], INIT)
    log.give_back = keeper.give_back
    return keeper


def resume(children: Children, handed: tuple[list[str], list[int]]) -> None:
    """Continue in the second half of PID 1 with what `Keeper.handed` returned."""
    argv, (pid, *descriptors) = handed
    keeper = Keeper(descriptors, SERVER)
    keeper.children, keeper.argv, keeper.pid = children, argv, pid
    if pid:
        children.adopt(pid)
    children.kept = keeper
    log.give_back = keeper.give_back


def _own(descriptor: int) -> int:
    """Return a descriptor with a number that is none of the process's, in place of this one."""
    found = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FREE)
    os.close(descriptor)
    return found


def _pipe(descriptor: int) -> int:
    """Return a descriptor as `_own` does, of a pipe that now holds more."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _SIZE)
    except OSError:
        pass  # this user has too many pipes, so it stays small
    return _own(descriptor)
