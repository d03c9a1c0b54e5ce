"""One line per event on stderr; no logging module, since PID 1 pays for every import.

PID 1 waits for nobody who reads its log (`never_wait`): what is not taken now waits in memory, and what is
too much for that is counted. Other processes simply write: they may wait.
"""

from __future__ import annotations

import os
import stat
import time

from entrypoint.errors import Problem
from entrypoint.shown import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

_MOST = 256 * 1024
"""Bytes that wait in memory at most."""
_PATIENCE = 2.0
"""Seconds without a byte taken after which nobody is thought to read."""

debugging = False
"""Whether `debug` says anything."""


class Stream:
    """Standard output or standard error."""

    def __init__(self, standard: int) -> None:
        self.standard = standard
        self.own: int | None = None
        """Where it is written without waiting; None: it is waited for."""
        self.queue: list[bytes] = []
        """What was not taken yet, an event each."""
        self.size = 0
        """Bytes in it."""
        self.lost = 0
        """Lines that there was no room for."""
        self.since = 0.0
        """Since when nothing was taken, by the monotonic clock; 0: all is taken."""

    def never_wait(self, own: int | None = None) -> None:
        """Wait for nobody from now on; `own` is what an earlier call in this process has opened.

        O_NONBLOCK belongs to the open file, which the server and all others write to as well, and they would
        lose lines. So a pipe or terminal is opened anew. That wants its owner's rights: it is done as root.
        Where it cannot be done (a socket, another owner) the kernel is asked for room before each write.
        """
        if own is None:
            own = self.standard
            try:
                kind = os.fstat(self.standard).st_mode
                if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
                    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                    own = os.open(f"/proc/self/fd/{self.standard}", flags)
            except OSError:
                pass
        self.own = own

    def put(self, data: bytes) -> None:
        """Write an event, or keep it until it is taken."""
        if self.own is None:
            self._write_all(data)
            return
        if self.lost or (self.size and self.size + len(data) > _MOST):
            self.flush()
            if self.lost or (self.size and self.size + len(data) > _MOST):
                self.lost += data.count(b"\n")
                return
        self.queue.append(data)
        self.size += len(data)
        self.flush()

    def _write_all(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.standard, data) :]
        except OSError:
            pass  # nobody reads the log any more; that must never stop the database

    def flush(self) -> None:
        """Write what waits, as far as it is taken now; what was lost is told once all of it is taken."""
        while self.queue or self.lost:
            if not self.queue:
                text = f"entrypoint: warning: {self.lost} lines of the log were lost while nobody read it\n"
                self.queue, self.size, self.lost = [text.encode()], len(text), 0
            try:
                taken = self._write(self.queue[0])
            except BlockingIOError:
                self.since = self.since or time.monotonic()
                return
            except OSError:
                self.queue, self.size, self.lost = [], 0, 0  # nobody reads the log any more
                break
            rest = self.queue[0][taken:]
            self.queue[:1] = [rest] if rest else []
            self.size -= taken
            self.since = 0.0
        self.since = 0.0

    def _write(self, data: bytes) -> int:
        if self.own is None or self.own != self.standard:
            return os.write(self.standard if self.own is None else self.own, data)
        if not self.has_room(0):
            raise BlockingIOError
        return os.write(self.standard, data[:4096])  # a pipe with room has room for so many bytes

    def has_room(self, seconds: float) -> bool:
        """Wait at most so long for room, or for the end of the reader; tell whether one of them came."""
        import select

        poll = select.poll()
        poll.register(self.standard if self.own is None else self.own, select.POLLOUT)
        return bool(poll.poll(int(seconds * 1000)))

    def drain(self, seconds: float) -> None:
        """Write what waits before an end; a reader that takes nothing for so many seconds is given up."""
        latest = time.monotonic() + 5 * seconds
        self.flush()
        while self.queue:
            left = min(self.since + seconds, latest) - time.monotonic()
            if left <= 0 or not self.has_room(left):
                return
            self.flush()


OUT, ERR = Stream(1), Stream(2)


def never_wait(handed: tuple[int, list[bytes], int] | None = None) -> None:
    """Wait for no reader of the standard streams from now on; `handed` is what `hand_over` gave."""
    for stream in (OUT, ERR):
        if stream.own is None:
            stream.never_wait()
    if handed is not None:
        own, queue, ERR.lost = handed
        ERR.never_wait(own)
        ERR.queue = list(queue)
        ERR.size = sum(len(each) for each in ERR.queue)
        ERR.since = time.monotonic() if ERR.queue else 0.0


def hand_over() -> tuple[int, list[bytes], int]:
    """Return what the second half of PID 1 needs to go on with the log.

    That is the descriptor, what waits to be written to it, and how many lines were lost.
    """
    if ERR.own is None:
        never_wait()
    OUT.drain(_PATIENCE / 2)
    return ERR.standard if ERR.own is None else ERR.own, ERR.queue, ERR.lost


def simply_write() -> None:
    """Wait for readers again, and forget what waits: for a fork of PID 1, whose queue it is."""
    for stream in (OUT, ERR):
        stream.own, stream.queue, stream.size, stream.lost = None, [], 0, 0


def flush() -> None:
    """Write what waits, as far as it is taken now."""
    for stream in (OUT, ERR):
        stream.flush()


def drain() -> None:
    """Write what waits before the end of the process, as long as somebody reads."""
    for stream in (OUT, ERR):
        stream.drain(_PATIENCE / 2)


def let_go() -> None:
    """See to it that a traceback waits for nobody either: the process ends, and its streams with it."""
    drain()
    if ERR.own is not None:
        try:
            os.set_blocking(ERR.standard, False)
        except OSError:
            pass  # it is closed


def waiting() -> list[int]:
    """Return the descriptors for which something waits until they can be written."""
    return [stream.own for stream in (OUT, ERR) if stream.queue and stream.own is not None]


def is_behind() -> bool:
    """Tell whether much waits for somebody who reads: who adds to it should let him catch up."""
    return ERR.size > _MOST // 2 and time.monotonic() - ERR.since < _PATIENCE


def _write(level: Literal["debug", "info", "warning", "error"], message: str) -> None:
    lines = printable(message.rstrip("\n")).split("\n")
    text = f"entrypoint: {level}: {lines[0]}\n" + "".join(f"  {line}\n" for line in lines[1:])
    ERR.put(text.encode())


def relay(role: str, line: bytes) -> None:
    """Pass a line of a helper on, with its role."""
    text = printable(line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))
    ERR.put(f"{role}: {text}\n".encode())


def say(text: str) -> None:
    """Say on stdout, as it is, what the official image says there."""
    OUT.put(text.encode())


def draw(text: str) -> None:
    """Draw on the terminal that stderr is, unless it is behind: the next picture is as good."""
    if not ERR.queue:
        ERR.put(text.encode())


def debug(message: str) -> None:
    """Say what only somebody who looks for a mistake wants to know."""
    if debugging:
        _write("debug", message)


def info(message: str) -> None:
    """Say what happens."""
    _write("info", message)


def warning(message: str, hint: str = "", docs: str = "") -> None:
    """Log what will do harm later, and what to do about it."""
    _write("warning", advised(message, hint, docs))


def problem(problem: Problem) -> None:
    """Log what is wrong and how to fix it."""
    _write("error", advised(problem.what, problem.hint, problem.docs))


def advised(message: str, hint: str, docs: str) -> str:
    """Return a message with what to do about it, and the page that shows the way, on lines of their own."""
    advice = (("hint", hint), ("docs", docs))
    return "\n".join((message, *(f"{name}: {text}" for name, text in advice if text)))
