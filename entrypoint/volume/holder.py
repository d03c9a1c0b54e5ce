"""Locks the data folder, so that only one start at a time uses it, on this host."""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import exits, log
from entrypoint.errors import Failure, Problem
from entrypoint.system import locks, walk

_HOLDER = "user.entrypoint.holder"


def lock_folder(folder: str) -> int:
    """Lock a data folder against a second server; return the descriptor that holds the lock.

    The lock is on the folder itself, so nothing is written, and it ends when its holder dies. It works
    between the containers of one host. A network filesystem may not support locks on folders: then PG_VERSION
    is locked instead. If that fails too, a warning says that the protection is missing.

    Raises Failure if another start holds the lock.
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
    """Return a descriptor that holds the lock on the folder that now has this path.

    Init files may have removed the locked folder and created it again.
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
                f"{folder} is in use by {_holder_of(descriptor)}; nothing was changed",
                "stop that one first; docker ps --filter volume=NAME lists the containers that use a volume",
                exits.VOLUME_IN_USE,
                docs="mount-the-volume",
            )
        )


def _lock_version_file(descriptor: int, folder: str) -> int:
    """Lock PG_VERSION and return its descriptor; without locks, return the folder's descriptor."""
    try:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        version = os.open("PG_VERSION", flags, dir_fd=descriptor)
        _lock(version, folder)
    except OSError as error:
        log.warning(
            f"the filesystem of {folder} does not support locks ({error.strerror}): nothing prevents a "
            "second container from starting on it",
            "make sure that only one container ever uses this volume",
            docs="mount-the-volume",
        )
        return descriptor
    os.close(descriptor)
    return version


def sign_folder(folder: str) -> None:
    """Note in an extended attribute of a locked folder who holds it; no backup contains the attribute."""
    from time import gmtime, strftime

    text = f"container {os.uname().nodename}, since {strftime('%Y-%m-%d %H:%M:%S UTC', gmtime())}"
    try:
        os.setxattr(folder, _HOLDER, text.encode())
    except OSError:
        pass  # the filesystem has no such attributes; the lock works without them


def _holder_of(descriptor: int) -> str:
    """Return who holds a locked folder, as far as the folder says so."""
    try:
        return os.getxattr(descriptor, _HOLDER).decode("utf-8", "replace")
    except OSError:
        return "another container or process"
