"""What is free on a filesystem, for a user that is not root."""

from __future__ import annotations

import os

from entrypoint.light import NamedTuple


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
