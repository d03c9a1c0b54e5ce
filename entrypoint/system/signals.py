"""Signals as events: handlers only record them, and one pipe wakes the one loop.

Every signal that matters needs a handler from the first instruction on: if its action is the default one, the
kernel drops a signal that is sent to PID 1 from inside its namespace.
"""

from __future__ import annotations

import os
import select

from entrypoint import log
from entrypoint.light import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_LEFT_ALONE = {
    *(signal.SIGKILL, signal.SIGSTOP),
    # our own errors, which must end us
    *(
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGSYS,
    ),
    # signals that CPython itself ignores
    *(signal.SIGPIPE, signal.SIGXFSZ),
}
HANDLED = tuple(sorted(signal.valid_signals() - _LEFT_ALONE))
"""All other signals: if we are not PID 1 (`docker run --init`), most of them would end or stop us."""


class Signals:
    """The signals that have arrived, in order, and a way to wait for the next one."""

    def __init__(
        self, original_mask: Iterable[int] | None = None, original_ignored: Iterable[int] | None = None
    ) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        before = {number: signal.signal(number, _ignore) for number in HANDLED}
        ignored = [number for number, handler in before.items() if handler == signal.SIG_IGN]
        self.original_ignored = set(ignored if original_ignored is None else original_ignored)
        """The signals that children ignore: those that were ignored when we were started."""
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        self.original_mask = set(mask if original_mask is None else original_mask)
        """The signals that children block: those that were blocked when we were started."""

    @property
    def descriptor(self) -> int:
        """The descriptor that is readable when a signal has arrived; `take` reads it."""
        return self._read

    def give_back(self) -> None:
        """Reset everything that survives an exec to its state when we were started."""
        for number in self.original_ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.original_mask)

    def take(self) -> list[int]:
        """Return the signals since the last call; SIGCHLD only means that children may have ended."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def wait(self, seconds: float | None, readable: Iterable[int] = ()) -> list[int]:
        """Wait at most this long for a signal or a readable descriptor; return the signals.

        Meanwhile, lines that wait for a reader of the log are written, which may end the wait early.
        """
        log.flush()
        poll = select.poll()
        for descriptor in log.waiting():
            poll.register(descriptor, select.POLLOUT)
        for descriptor in (self._read, *readable):
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if seconds is None else max(0, int(seconds * 1000) + 1))
        log.flush()
        return self.take()


def _ignore(number: int, frame: object) -> None:
    """Do nothing: the wake-up pipe has recorded the signal."""
