"""The output of a running tool: passed on line by line, with the last part kept.

It may contain text from others, such as names in an archive. So the length of lines and of the whole output
is limited, and control characters are escaped before a terminal sees them. The output is read all the time,
so that no tool waits for us.
"""

from __future__ import annotations

import os

from entrypoint import log

KEPT = 256 * 1024
"""The last bytes of the output that are kept."""
_LINE = 64 * 1024
"""The most bytes of a line; a longer line is split."""
_AT_ONCE = 64


class Words:
    """The reading end of a child's output; with a `role`, its lines are logged under that name."""

    def __init__(self, role: str = "") -> None:
        self.role = role
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._ended = False
        self._kept = b""
        self._rest = b""

    @property
    def writing(self) -> int:
        """The descriptor for the child until `begin`."""
        return self._write

    @property
    def readable(self) -> tuple[int, ...]:
        """The descriptors to watch while the child runs."""
        return () if self._ended else (self._read,)

    def begin(self) -> None:
        """Close our writing end after the child was started."""
        os.close(self._write)
        self._write = -1

    def take(self) -> None:
        """Read the available output, but not forever."""
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
        """Return the kept output of a child that has ended; do not wait for processes that it left behind."""
        self.take()
        self._put(b"")
        for descriptor in (self._read, self._write):
            if descriptor >= 0:
                os.close(descriptor)
        return self._kept.decode("utf-8", "surrogateescape")
