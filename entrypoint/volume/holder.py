"""Who holds the data folder: one start at a time, on this host."""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import exits, log
from entrypoint.errors import Failure, Problem
from entrypoint.system import locks, walk

_HOLDER = "user.entrypoint.holder"


def lock_folder(folder: str) -> int:
    """Lock a data folder against a second server and return the descriptor that holds the lock.

    The lock is on the folder itself, so nothing is written, and it goes when its holder dies. It works
    between containers of one host. A network filesystem may not know locks on folders: then it is
    taken on PG_VERSION, and where that fails too, a warning says that the protection is missing.
    """
    descriptor = walk.open_folder(folder)
    try:
        _lock(descriptor, folder)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            os.close(descriptor)
            raise
        return _lock_version_file(descriptor, folder)
    except Failure:
        os.close(descriptor)
        raise
    return descriptor


def keep_locked(descriptor: int, folder: str) -> int:
    """Return a descriptor that holds the lock on what is at this path by now.

    Init files may have removed what was locked, and made it anew.
    """
    try:
        held = os.fstat(descriptor)
        now = os.stat(folder if stat.S_ISDIR(held.st_mode) else f"{folder}/PG_VERSION")
        if (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino):
            return descriptor
    except FileNotFoundError:
        pass
    again = lock_folder(folder)
    os.close(descriptor)
    return again


def _lock(descriptor: int, folder: str) -> None:
    if not locks.take(descriptor):
        raise Failure(
            Problem(
                f"{folder} is in use by {_holder_of(descriptor)}; this start will not touch it",
                "stop the other one first; `docker ps --filter volume=NAME` shows who uses a volume",
                exits.VOLUME_IN_USE,
            )
        )


def _lock_version_file(descriptor: int, folder: str) -> int:
    """Take the lock on the file, or hold the folder without one."""
    try:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        version = os.open("PG_VERSION", flags, dir_fd=descriptor)
        _lock(version, folder)
    except OSError as error:
        log.warning(
            f"the filesystem of {folder} cannot lock ({error.strerror}): nothing keeps a second "
            "container from starting on it",
            "make sure that only one container ever uses this volume",
        )
        return descriptor
    os.close(descriptor)
    return version


def sign_folder(folder: str) -> None:
    """Write on a locked folder who holds it: an extended attribute, which no backup carries along."""
    from time import gmtime, strftime

    text = f"container {os.uname().nodename}, since {strftime('%Y-%m-%d %H:%M:%S UTC', gmtime())}"
    try:
        os.setxattr(folder, _HOLDER, text.encode())
    except OSError:
        pass  # the filesystem has no such attributes; the lock holds all the same


def _holder_of(descriptor: int) -> str:
    """Return who holds a locked folder, as far as it is written there."""
    try:
        return os.getxattr(descriptor, _HOLDER).decode("utf-8", "replace")
    except OSError:
        return "another container or process"
