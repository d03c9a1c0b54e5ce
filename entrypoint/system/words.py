"""What a tool says while it works: passed on line by line, and its last words kept.

They may be somebody else's, an archive's names among them: so they are bounded, in a line and altogether, and
nothing of them reaches a terminal as it is. They are read all the time, so that no tool waits for that.
"""

from __future__ import annotations

import os

from entrypoint import log

KEPT = 256 * 1024
"""Bytes that are kept of all that was said: the last ones."""
_LINE = 64 * 1024
"""Bytes of a line that are looked at together."""
_AT_ONCE = 64


class Words:
    """The reading end of a child's output; with a `role` its lines are passed on to the log, under that."""

    def __init__(self, role: str = "") -> None:
        self.role = role
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._ended = False
        self._kept = b""
        self._rest = b""

    @property
    def writing(self) -> int:
        """The descriptor for the child, until `begin`."""
        return self._write

    @property
    def readable(self) -> tuple[int, ...]:
        """What is to be looked at while the child works."""
        return () if self._ended else (self._read,)

    def begin(self) -> None:
        """Leave the writing to the child, which was started."""
        os.close(self._write)
        self._write = -1

    def take(self) -> None:
        """Read what there is, but not for ever."""
        for _ in range(0 if self._ended else _AT_ONCE):
            try:
                data = os.read(self._read, _LINE)
            except BlockingIOError:
                return
            if not data:
                self._ended = True
                return
            self._put(data)

    def _put(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-KEPT:]
        if not self.role:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE or (self._rest and not data):
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if line:
                log.relay(self.role, line)

    def end(self) -> str:
        """Return the last words, once the child has ended: what it has left running is not waited for."""
        self.take()
        self._put(b"")
        for descriptor in (self._read, self._write):
            if descriptor >= 0:
                os.close(descriptor)
        return self._kept.decode("utf-8", "surrogateescape")
