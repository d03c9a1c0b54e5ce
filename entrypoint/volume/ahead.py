"""What a server finds when another program has taken all space, because PID 1 keeps it there all the time.

A server that is creating a WAL segment, or a checkpoint that cannot write its small file, ends with PANIC at
the moment when nothing is free any more: that is too soon for anything that begins then. So on a disk that is
nearly full, the next segments always exist already. And each checkpoint frees a block just before it needs
one: it removes old files of logical decoding before it writes its own, so one of the old files is ours. It
then takes milliseconds, in which others can take the block; so that file has a second name, which the
checkpoint removes in the moment before it writes.

Blocks that were only allocated make small commits slower: the filesystem notes for each that it is written.
So segments are not made in advance where there is plenty of space.
"""

from __future__ import annotations

import os

from entrypoint import own
from entrypoint.system import space
from entrypoint.volume import installing, reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FEWEST, _MOST = 2, 16
"""Segments that exist beyond the one that the server writes to; more of them at a higher rate."""
_LEFT = 2
"""Segments that stay free beside those that are made here; the reserve is for less."""
_MADE_AT = 0
"""When such a segment was written, in nanoseconds since 1970: never."""
_LIST_EVERY = 60.0
"""Seconds between two looks at the names of all segments; a server on a new timeline has other names."""
_LONGEST = 1000
"""Segments that no server fills between two looks."""
_FREED_BYTES = 1024**2
"""As large as a crumb of the reserve, which may become one."""
_FOLLOWS = ("standby.signal", "recovery.signal")


class Ahead:
    """The segments beyond the one that the server writes to, and what the next checkpoint frees."""

    def __init__(self, data_folder: str, segment_bytes: int, server: int) -> None:
        self.data = data_folder
        self.segment = segment_bytes
        self.server = server
        """The pid of the postmaster."""
        self.current = ""
        """The name of the segment that the server writes to."""
        self.list_at = 0.0
        self.can_allocate = True
        self.can_link = True

    def keep(self, now: float, *, soon: bool) -> None:
        """Make what is missing; segments only if the disk can be full `soon`. Never raises OSError."""
        try:
            self._keep_freed()
            self._keep_second_name()
        except OSError:
            pass  # the folder is gone, or the disk is full already
        if not soon or not self.can_allocate:
            return
        try:
            folder = os.open(f"{self.data}/pg_wal", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self._keep_segments(folder, now)
        except OSError:
            pass  # the server has made or removed a segment meanwhile; the next look sees it
        finally:
            os.close(folder)

    def _keep_segments(self, folder: int, now: float) -> None:
        if any(os.path.exists(f"{self.data}/{name}") for name in _FOLLOWS):
            self.current = ""  # after a promotion, the server writes to another timeline
            return
        steps = self._follow(folder, now)
        if not self.current:
            return
        for name in self._next(min(_FEWEST + steps, _MOST)):
            if self.can_allocate and not _exists(folder, name):
                enough = (_LEFT + 1) * self.segment
                if space.look(folder).free < enough or not installing.is_quiet(
                    self.data, folder, self.server
                ):
                    return
                self._make(folder, name)

    def _next(self, count: int) -> Iterator[str]:
        name = self.current
        for _ in range(count):
            yield (name := installing.following(name, self.segment))

    def _follow(self, folder: int, now: float) -> int:
        """Find the segment that the server writes to; return how many it has filled since the last look."""
        if now >= self.list_at or not _exists(folder, self.current):
            self.list_at = now + _LIST_EVERY
            self.current = installing.newest(folder)
            return 0
        for steps in range(_LONGEST):
            name = installing.following(self.current, self.segment)
            if _written(folder, name) < max(_MADE_AT + 1, _written(folder, self.current)):
                return steps
            self.current = name
        return _LONGEST

    def _make(self, folder: int, name: str) -> None:
        """Create a segment of allocated blocks; what is in them does not matter, as after recycling."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        if _exists(folder, installing.MADE):
            os.unlink(installing.MADE, dir_fd=folder)
        descriptor = os.open(installing.MADE, flags, 0o600, dir_fd=folder)
        try:
            os.fchmod(descriptor, os.stat(self.current, dir_fd=folder).st_mode & 0o777)
            self.can_allocate = reserve.allocate(descriptor, self.segment, sync=False)
            if self.can_allocate and installing.is_quiet(self.data, folder, self.server):
                os.utime(descriptor, ns=(_MADE_AT, _MADE_AT))
                os.link(installing.MADE, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                reserve.keep_name(folder, name)
        except FileExistsError:
            pass  # the server has made it meanwhile
        except PermissionError:
            self.can_allocate = False  # a filesystem without links
            raise
        finally:
            os.close(descriptor)
            os.unlink(installing.MADE, dir_fd=folder)

    def _keep_freed(self) -> None:
        """Make what the next checkpoint removes, from free space, or else from a crumb of the reserve."""
        path = f"{self.data}/{own.FREED}"
        if os.path.lexists(path):
            return
        mode = os.stat(f"{self.data}/global/pg_control").st_mode & 0o777
        if space.look(os.path.dirname(path)).free >= 2 * _FREED_BYTES:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(descriptor, mode)
                os.posix_fallocate(descriptor, 0, _FREED_BYTES)
            except OSError:
                os.unlink(path)  # another program has taken the space meanwhile
            else:
                return
            finally:
                os.close(descriptor)
        for place in ("pg_wal", "pg_stat_tmp"):
            if reserve.move_crumb(f"{self.data}/{place}", path, mode):
                return

    def _keep_second_name(self) -> None:
        """Give that file its second name, unless it or the server's own file has it."""
        first, second = f"{self.data}/{own.FREED}", f"{self.data}/{own.FREED_LATE}"
        if not self.can_link or os.path.lexists(second) or not os.path.lexists(first):
            return
        if not installing.is_between(self.data, self.server):
            return  # the checkpoint would find a file where it is about to create one
        try:
            os.link(first, second, follow_symlinks=False)
        except PermissionError:
            self.can_link = False


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _written(folder: int, name: str) -> int:
    """Return when a segment was written last, in nanoseconds since 1970; -1: it is not there."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
    except OSError:
        return -1
