"""Locks that end with their holder, even by SIGKILL, and that work between containers on one host."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def take(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; return False if somebody else holds the lock.

    Raises OSError if the filesystem cannot lock it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Alone:
    """Holds the lock of a file during a block, which gets its descriptor; a missing file is created.

    While somebody else holds the lock, `wait` is called repeatedly: it pauses, or raises.
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
        """Release the lock, unless a child has inherited it."""
        os.close(self._descriptor)
