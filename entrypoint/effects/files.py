"""Files and folders: atomic writes, ownership, mounts, the lock on the data folder."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from entrypoint import exits, log, own
from entrypoint.effects import kernel, small, walk
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple

_MOST = 64 * 1024**2
"""Bytes; the largest that is read is the log of a server that lived for a moment."""


def read_text(path: str) -> str:
    """Return a regular file's text, also through a link; bytes that are no UTF-8 survive a round trip.

    Raises OSError, also for a FIFO, for which others would have us wait, and for what would fill the memory.
    """
    return small.read_text(path, most=_MOST, follow=True)


def write_atomically(path: str, text: str, mode: int = 0o600, *, dir_fd: int | None = None) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new one, never a half.

    `path` is a name in the folder that `dir_fd` has open, where that is given.
    """
    temporary = f"{path}{own.HALF}"
    descriptor = small.make(temporary, mode, dir_fd=dir_fd)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        error.filename = path  # the kernel names none where a disk is full
        raise
    os.replace(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    if dir_fd is None:
        sync_folder(os.path.dirname(path))
    else:
        os.fsync(dir_fd)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: str) -> None:
    """Remove a folder or file and everything below, without following links."""
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        walk.empty(descriptor, path)
    finally:
        os.close(descriptor)
    os.rmdir(path)


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo."""

    point: str
    root: str
    """The folder of the filesystem that is mounted; shows the name of a container engine's volume."""
    filesystem: str
    options: str


def mounts() -> list[Mount]:
    """Return the mounts of this container, as the kernel tells them."""
    try:
        text = read_text("/proc/self/mountinfo")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) >= 6 and right:
            point, root = (_unescape(field) for field in (fields[4], fields[3]))
            found.append(Mount(point, root, right.split(" ")[0], fields[5]))
    return found


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def mount_of(path: str, table: list[Mount]) -> Mount | None:
    """Return the mount that a path is on; the last of equally long ones is on top."""
    best = None
    for mount in table:
        point = mount.point.rstrip("/")
        if (path == mount.point or path.startswith(point + "/")) and (
            best is None or len(mount.point) >= len(best.point)
        ):
            best = mount
    return best


def ensure_folder(path: str, mode: int) -> None:
    """Make a folder with this mode, as who we are: not for root, where others can write near it."""
    os.makedirs(path, exist_ok=True)
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)


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
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure(
            Problem(
                f"{folder} is in use by {kernel.holder_of(descriptor)}; this start will not touch it",
                "stop the other one first; `docker ps --filter volume=NAME` shows who uses a volume",
                exits.VOLUME_IN_USE,
            )
        ) from None


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
