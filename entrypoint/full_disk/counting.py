"""How much space folders take, as du counts it, within a time and a number of files."""

from __future__ import annotations

import os
import stat
import time

from entrypoint.light import NamedTuple

_BLOCK = 512
"""Bytes: the unit of st_blocks on every filesystem."""
_EVERY = 256
"""Files between two looks at the clock."""


class Size(NamedTuple):
    """What a folder takes on the disk."""

    bytes: int = 0
    files: int = 0
    counted: bool = True
    """False: there is more."""

    def plus(self, other: Size) -> Size:
        """Return the size of both."""
        return Size(self.bytes + other.bytes, self.files + other.files, self.counted and other.counted)


class Counter:
    """Counts folders until its time or its number of files is over; what comes later is not counted."""

    def __init__(self, seconds: float, files: int = 200_000) -> None:
        self._deadline = time.monotonic() + seconds
        self._left = files
        self._over = False
        self._linked: set[tuple[int, int]] = set()

    def count(self, path: str, *, skip: frozenset[str] = frozenset(), deep: bool = True) -> Size:
        """Return the size of a folder, on its own filesystem, without its entries `skip`; follows no links.

        Without `deep`, folders in it are left out. A file with several names counts once, wherever they are.
        """
        size, files, counted = 0, 0, True
        try:
            device = os.stat(path).st_dev
        except OSError:
            return Size()
        folders = [path]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(folder)
            except OSError as error:
                counted = counted and not isinstance(error, PermissionError)
                continue
            with entries:
                for entry in entries:
                    if self._is_over():
                        return Size(size, files, counted=False)
                    if folder == path and entry.name in skip:
                        continue
                    try:
                        found = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            if not deep or found.st_dev != device:
                                continue
                            folders.append(entry.path)
                    except OSError:
                        continue  # removed meanwhile
                    new = self._is_new(found)
                    size += new * found.st_blocks * _BLOCK
                    files += new
        return Size(size, files, counted)

    def _is_new(self, found: os.stat_result) -> bool:
        """Return whether a file, or another name of it, was not counted before."""
        if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode):
            return True
        before = len(self._linked)
        self._linked.add((found.st_dev, found.st_ino))
        return len(self._linked) > before

    def _is_over(self) -> bool:
        self._left -= 1
        if not self._over and self._left % _EVERY == 0:
            self._over = time.monotonic() > self._deadline
        return self._over or self._left < 0


def of_temporary(path: str, counter: Counter) -> Size:
    """Return the size of a file, or of a folder with the files that parallel workers share."""
    return of_file(path).plus(counter.count(path))


def of_file(path: str) -> Size:
    """Return the size of a file; nothing if it is gone."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return Size()
    return Size(found.st_blocks * _BLOCK, 1)
