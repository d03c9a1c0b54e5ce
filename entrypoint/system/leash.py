"""What our children start, and what outlives us: found, ended, and waited for.

Each child inherits an open file with a lock, and so do its own children. So the lock lasts until the last of
them has ended, wherever they run and whoever has killed us; their parents may be long gone.
"""

from __future__ import annotations

import os
import signal
import time

from entrypoint import exits, log
from entrypoint.errors import Failure, Problem
from entrypoint.system import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.system.children import Children

_GRACE = 10.0
"""Seconds for processes to end after SIGKILL: one that writes to a slow disk ends only then."""


def hold(children: Children, path: str) -> None:
    """Let all tied children that are started from now on inherit the lock of a file.

    Raises Failure if others still hold it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not locks.take(descriptor):
            os.close(descriptor)
            raise Failure(_in_use(path))
    except OSError:
        log.debug(f"{path} cannot be locked, so what outlives this process is not noticed")
    children.leashes[path] = descriptor


def drop(children: Children, path: str) -> None:
    """Hold the lock of a file no longer; a child that still runs does."""
    if path in children.leashes:
        os.close(children.leashes.pop(path))


def end_all(path: str) -> None:
    """End every process that holds the lock of a file; whoever started them has ended.

    Raises Failure if some run where we do not see them, in another container.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    deadline = time.monotonic() + _GRACE
    try:
        while not locks.take(descriptor):
            for pid in holders(descriptor):
                log.debug(f"ending the process {pid}, which an interrupted command has left")
                os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise Failure(_in_use(path))
            time.sleep(0.05)
    except ProcessLookupError:
        end_all(path)  # it ended meanwhile
    except OSError:
        return  # no locks here
    finally:
        os.close(descriptor)


def holders(descriptor: int) -> list[int]:
    """Return the processes of our user, but for this one, that have opened a file."""
    wanted = os.fstat(descriptor)
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.geteuid():
                continue
            opened = [f"/proc/{name}/fd/{each}" for each in os.listdir(f"/proc/{name}/fd")]
        except OSError:
            continue  # it has ended
        if any(_is_same(path, wanted) for path in opened):
            found.append(int(name))
    return found


def _is_same(path: str, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def _in_use(path: str) -> Problem:
    return Problem(
        f"processes that an interrupted command has left still use {os.path.dirname(path)}, in another "
        "container",
        "stop that container: docker ps --filter volume=NAME lists those that use a volume; then try again",
        exits.VOLUME_IN_USE,
        docs="mount-the-volume",
    )
