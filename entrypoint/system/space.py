"""What is free on a filesystem, for a user that is not root."""

from __future__ import annotations

import os

from entrypoint.light import NamedTuple

_GET_ATTRIBUTES = 0x801C581F
"""FS_IOC_FSGETXATTR on every processor that the image is built for."""
_ATTRIBUTES, _PROJECT = 28, 12
"""Bytes of struct fsxattr, and the place of the project's number in it."""


class Space(NamedTuple):
    """The bytes and inodes of a filesystem; a quota of a project counts as one."""

    size: int
    """Bytes, without those that are reserved for root, as df counts."""
    free: int
    files: int
    """How many inodes there can be; 0: as many as there is space for, as on btrfs."""
    free_files: int

    def has_files(self, count: int) -> bool:
        """Return whether this many inodes are free."""
        return not self.files or self.free_files >= count


def look(folder: str | int) -> Space:
    """Return what is free on the filesystem of a folder, which may be an open one; raises OSError."""
    found = os.statvfs(folder)
    size = (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize
    return Space(size, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def identity(folder: str) -> tuple[int, int]:
    """Return what is the same for two folders with the same space: the filesystem, and the project in it.

    Raises OSError.
    """
    import fcntl  # PID 1 does not need it

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        attributes = bytearray(_ATTRIBUTES)
        try:
            fcntl.ioctl(descriptor, _GET_ATTRIBUTES, attributes)
        except OSError:
            pass  # the filesystem has no projects
        project = int.from_bytes(attributes[_PROJECT : _PROJECT + 4], "little")
        return os.fstat(descriptor).st_dev, project
    finally:
        os.close(descriptor)
