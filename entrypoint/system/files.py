"""Files and folders: atomic writes, ownership, mounts."""

from __future__ import annotations

import os
import stat

from entrypoint import own
from entrypoint.light import NamedTuple
from entrypoint.system import small, walk

_MOST = 64 * 1024**2
"""Bytes; the largest file that is read is the log of a server that ran for a moment."""


def read_text(path: str) -> str:
    """Return a regular file's text, also through a link; bytes that are not UTF-8 survive a round trip.

    Raises OSError. That includes a FIFO, which would make us wait, and a file that would fill the memory.
    """
    return small.read_text(path, most=_MOST, follow=True)


def write_atomically(path: str, text: str, mode: int = 0o600, *, dir_fd: int | None = None) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new version, never half of it.

    If `dir_fd` is given, `path` is a name in that open folder.
    """
    temporary = f"{path}{own.HALF}"
    descriptor = small.make(temporary, mode, dir_fd=dir_fd)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        error.filename = path  # the kernel names no file if a disk is full
        try:
            os.unlink(temporary, dir_fd=dir_fd)
        except OSError:
            pass
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
    """Remove a folder or file and everything below it, without following links."""
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
    """The mounted folder of the filesystem; it contains the name of a container engine's volume."""
    filesystem: str
    options: str


def mounts() -> list[Mount]:
    """Return the mounts of this container, as the kernel lists them."""
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
    """Return the mount of a path; the last of several with the same length is on top."""
    best = None
    for mount in table:
        point = mount.point.rstrip("/")
        if (path == mount.point or path.startswith(point + "/")) and (
            best is None or len(mount.point) >= len(best.point)
        ):
            best = mount
    return best


def ensure_folder(path: str, mode: int) -> None:
    """Create a folder with this mode as the current user: not as root, if others can write near it."""
    os.makedirs(path, exist_ok=True)
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)
