"""One line per event on stderr; no logging module, because PID 1 pays for every import.

PID 1 never waits for a reader of its log (`never_wait`). Lines that the reader does not take now wait in
memory; lines that do not fit there are counted and dropped. Other processes simply write: they may wait.
"""

from __future__ import annotations

import os
import stat
import time

from entrypoint.errors import Problem
from entrypoint.shown import BREAK, MARK, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

_MOST = 256 * 1024
"""The most bytes that wait in memory."""
_PATIENCE = 2.0
"""Seconds without a byte taken after which we assume that there is no reader."""

debugging = False
"""Whether `debug` prints anything."""
give_back: Callable[[], None] | None = None
"""Another process makes JSON of all that is written to our streams; this ends it and gives them back."""


class Stream:
    """Standard output or standard error."""

    def __init__(self, standard: int) -> None:
        self.standard = standard
        self.own: int | None = None
        """The descriptor to write to without waiting; None: writing waits for the reader."""
        self.queue: list[bytes] = []
        """Events that were not taken yet."""
        self.size = 0
        """Bytes in the queue."""
        self.lost = 0
        """Lines that did not fit into the queue."""
        self.since = 0.0
        """Since when the reader has taken nothing, by the monotonic clock; 0: everything was taken."""

    def never_wait(self, own: int | None = None) -> None:
        """Never wait for the reader from now on; `own` is what an earlier call in this process has opened.

        O_NONBLOCK belongs to the open file, which the server and others write to as well; they would lose
        lines. So a pipe or terminal is opened again. That needs its owner's rights, so it happens as root.
        Where it is impossible (a socket, another owner), the kernel is asked for room before each write.
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
        """Write an event, or keep it until the reader takes it."""
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
        """Write as much as the reader takes now; report lost lines after everything else was taken."""
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
        return os.write(self.standard, data[:4096])  # a pipe that has room takes at least this many bytes

    def has_room(self, seconds: float) -> bool:
        """Wait for room, or for the end of the reader; return whether one of them came within this time."""
        import select

        poll = select.poll()
        poll.register(self.standard if self.own is None else self.own, select.POLLOUT)
        return bool(poll.poll(int(seconds * 1000)))

    def drain(self, seconds: float) -> None:
        """Write what is in the queue before an end; give up on a reader that takes nothing for this long."""
        latest = time.monotonic() + 5 * seconds
        self.flush()
        while self.queue:
            left = min(self.since + seconds, latest) - time.monotonic()
            if left <= 0 or not self.has_room(left):
                return
            self.flush()


OUT, ERR = Stream(1), Stream(2)


def never_wait(handed: tuple[int, list[bytes], int] | None = None) -> None:
    """Never wait for readers of the standard streams from now on; `handed` is what `hand_over` returned."""
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
    """Return what the second half of PID 1 needs to continue the log.

    That is the descriptor, the queue, and how many lines were lost.
    """
    if ERR.own is None:
        never_wait()
    OUT.drain(_PATIENCE / 2)
    return ERR.standard if ERR.own is None else ERR.own, ERR.queue, ERR.lost


def simply_write() -> None:
    """Wait for readers again, and drop the queue: for a fork of PID 1, to which the queue belongs."""
    for stream in (OUT, ERR):
        stream.own, stream.queue, stream.size, stream.lost = None, [], 0, 0


def flush() -> None:
    """Write as much of the queues as is taken now."""
    for stream in (OUT, ERR):
        stream.flush()


def drain() -> None:
    """Write the queues before the end of the process, as long as somebody reads."""
    for stream in (OUT, ERR):
        stream.drain(_PATIENCE / 2)
    if give_back is not None:
        give_back()


def drain_for_traceback() -> None:
    """Write the queues, and make sure that a traceback waits for nobody either; the process ends after it."""
    drain()
    if ERR.own is not None:
        try:
            os.set_blocking(ERR.standard, False)
        except OSError:
            pass  # the stream is closed


def waiting() -> list[int]:
    """Return the descriptors that have a queue and wait until they can be written."""
    return [stream.own for stream in (OUT, ERR) if stream.queue and stream.own is not None]


def is_behind() -> bool:
    """Return whether the queue is long and somebody reads: callers should let the reader catch up."""
    return ERR.size > _MOST // 2 and time.monotonic() - ERR.since < _PATIENCE


def _write(level: Literal["debug", "info", "warning", "error"], message: str) -> None:
    text = f"entrypoint: {level}: " + printable(message.rstrip("\n")).replace("\n", "\n  ")
    if give_back is not None:
        text = f"{MARK}entrypoint: " + text.replace("\n", BREAK)
    ERR.put(f"{text}\n".encode())


def relay(role: str, line: bytes) -> None:
    """Pass on a line of a helper, with the helper's role."""
    text = printable(line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))
    mark = "" if give_back is None else MARK
    ERR.put(f"{mark}{role}: {text}\n".encode())


def now_from(source: str) -> None:
    """Name the source of the lines without a mark that follow, if another process makes JSON of them."""
    if give_back is not None:
        for stream in (OUT, ERR):
            stream.put(f"{MARK}{MARK}{source}\n".encode())


def say(text: str) -> None:
    """Print a text on stdout exactly as the official image does."""
    if give_back is not None:
        text = "".join(f"{MARK}entrypoint: {line}\n" for line in text.split("\n") if line)
    OUT.put(text.encode())


def draw(text: str) -> None:
    """Draw on stderr if that is a terminal that keeps up; if not, skip it, since a newer picture follows."""
    if not ERR.queue:
        ERR.put(text.encode())


def debug(message: str) -> None:
    """Log what only helps to find a mistake."""
    if debugging:
        _write("debug", message)


def info(message: str) -> None:
    """Log an event."""
    _write("info", message)


def warning(message: str, hint: str = "", docs: str = "") -> None:
    """Log something that will do harm later, and what to do about it."""
    _write("warning", advised(message, hint, docs))


def problem(problem: Problem) -> None:
    """Log a problem and how to fix it."""
    _write("error", advised(problem.what, problem.hint, problem.docs))


def advised(message: str, hint: str, docs: str) -> str:
    """Return a message with its hint and the how-to page that explains it, each on a line of its own."""
    advice = (("hint", hint), ("docs", docs and f"{docs} (entrypoint help {docs})"))
    return "\n".join((message, *(f"{name}: {text}" for name, text in advice if text)))
