"""Small regular files, read and written so that nothing else can take their place.

Whoever can write to a folder can put a link, a FIFO, a device or an endless file in the place of one of our
files. Opening a FIFO waits for its writer forever, and a link leads wherever its creator wants.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 1024 * 1024
"""Bytes; none of our files is this large."""

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
}


def read(path: str, *, most: int = MOST, dir_fd: int | None = None, follow: bool = False) -> bytes:
    """Return the content of a small regular file, at most `most` bytes; never waits.

    If `dir_fd` is given, `path` is relative to that open folder. A link in the file's place is refused unless
    `follow` is set. Raises OSError, whose message says what is wrong with the file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        # ELOOP is a link; a socket, or a device without a driver, cannot be opened at all.
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_plain(path, os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode) from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_plain(path, found.st_mode)
        return drain(descriptor, path, most=most)
    finally:
        os.close(descriptor)


def drain(descriptor: int, path: str, *, most: int = MOST, wait: Callable[[], None] | None = None) -> bytes:
    """Return the content up to its end, at most `most` bytes; `wait` is called before each block."""
    blocks: list[bytes] = []
    left = most + 1
    while left:
        if wait is not None:
            wait()
        block = os.read(descriptor, min(left, 65536))
        if not block:
            return b"".join(blocks)
        blocks.append(block)
        left -= len(block)
    raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)


def read_text(path: str, *, most: int = MOST, dir_fd: int | None = None, follow: bool = False) -> str:
    """Return what `read` does as text; bytes that are not UTF-8 survive a round trip."""
    return read(path, most=most, dir_fd=dir_fd, follow=follow).decode("utf-8", "surrogateescape")


def make(path: str, mode: int, *, dir_fd: int | None = None) -> int:
    """Return a descriptor for writing a new file with exactly this mode.

    Anything already there is removed: a link, a FIFO, or the remains of a killed writer. Raises OSError for a
    folder, or if somebody creates something there at that moment. `dir_fd` is that of `read`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.unlink(path, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    descriptor = os.open(path, flags, mode, dir_fd=dir_fd)
    try:
        os.fchmod(descriptor, mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _not_plain(path: str, mode: int) -> OSError:
    kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
    return OSError(errno.EINVAL, f"it is {kind}, where a regular file is expected", path)
