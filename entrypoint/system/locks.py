"""Locks that go when their holder dies, also by SIGKILL, and that work between containers of one host."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def take(descriptor: int) -> bool:
    """Lock what a descriptor has open, as long as it is open, and tell whether nobody else holds that.

    Raises OSError where the filesystem cannot lock it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Alone:
    """Holds the lock of a file for a block, which gets its descriptor; the file is made where it is missing.

    As long as somebody else holds it, `wait` is called again and again: it pauses, or raises.
    """

    def __init__(self, path: str, wait: Callable[[], object]) -> None:
        self._path = path
        self._wait = wait
        self._descriptor = -1

    def __enter__(self) -> int:
        """Wait for the lock."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            while not take(self._descriptor):
                self._wait()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        """Let go of the lock, unless a child has inherited it."""
        os.close(self._descriptor)
