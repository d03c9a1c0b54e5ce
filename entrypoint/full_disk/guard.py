"""What the entrypoint does while a disk of the server is about to be full; PID 1 runs it for that time.

PID 1 itself has switched the server's settings already, see pid1/brake: here is what needs sessions.
"""

from __future__ import annotations

import os
import time

from entrypoint import log
from entrypoint.config import rendered, when_full
from entrypoint.errors import Failure, Stopped
from entrypoint.full_disk import filling, parts, spare
from entrypoint.full_disk.dropping import Dropping
from entrypoint.full_disk.sorts import Sorts
from entrypoint.full_disk.writers import Writers
from entrypoint.pid1 import brake, status
from entrypoint.pid1.brake import Brake
from entrypoint.server import sessions
from entrypoint.shown import spell
from entrypoint.system import copies
from entrypoint.volume import installing, reserve, room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context
    from entrypoint.volume.room import Level

_STEP = {room.NORMAL: 1.0, room.TIGHT: 0.2, room.FULL: 0.1}
"""Seconds between two looks, by the level."""
_CALM = 5.0
"""Seconds of the level `normal` after which there is nothing left to do."""
_CHECKPOINT_EVERY = 2.0
"""Seconds from the end of a checkpoint to the next one."""
_SPARE_EVERY = 5.0
"""Seconds between two looks for what can be removed."""
_KEPT = {room.NORMAL: 64, room.TIGHT: 16, room.FULL: 7}
"""Segments that are not worth a checkpoint, by the level."""
_WAITING = installing.SEGMENT_NAME + len(".ready")
"""Letters of the name of a file that says that a segment waits to be archived."""
_EXPLAIN_EVERY = 300.0
"""Seconds between two reports of what fills the disk, while it is full."""
_HARD = 2
"""Segments: with less free space than that, nobody may write."""


def run(context: Context) -> None:
    """Run until the level has been normal for a while."""
    guard = Guard(context)
    try:
        while guard.step():
            context.children.pause(_STEP[guard.level])
    except Stopped:
        pass
    finally:
        guard.close()


class Guard:
    """The one loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        data = context.settings.data_folder
        self.wal = os.path.realpath(f"{data}/pg_wal")
        self.segment = installing.segment_bytes(data)
        self.disks = Brake(when_full.disks(data), self.segment)
        self.level: Level = room.TIGHT
        self.calm_since: float | None = None
        self.writers = Writers(context)
        self.sorts = Sorts(context, self.segment)
        self.dropping = Dropping(context)
        self.explaining = 0
        """The pid of the copy that reports what fills the disk."""
        self.explain_due = 0.0
        self.is_ending = False
        """Transactions that write are ended; this stays so until the disk is no longer full."""
        self.checkpoint = 0
        """The pid of the client that requests a checkpoint; 0: there is none."""
        self.checkpoint_due = 0.0
        self.spare_due = 0.0
        self.began = False
        """The level was above normal since this process was started."""
        self.is_guarded = rendered.guards(context)

    def step(self) -> bool:
        """Do what is due; return whether to continue."""
        now = time.monotonic()
        known = status.read([self.context.runtime_folder])
        self.level = room.NORMAL if known is None else known.level
        self.disks.look(now)
        if self.level == room.NORMAL:
            self.calm_since = self.calm_since or now
            self.dropping.step(self.level)
            if now - self.calm_since > _CALM or not self.began:
                self._make_reserve()
                return False
        else:
            self.began, self.calm_since = True, None
            self._give_up_spare(now)
        self.dropping.step(self.level)
        self._checkpoint(now)
        self._watch_writers()
        self._explain(now)
        return True

    def _watch_writers(self) -> None:
        if self.level != room.FULL or not self.is_guarded:
            if self.is_ending:
                self.is_ending = False
                self.writers.end()
            return
        rooms = self.disks.rooms.values()
        if any(each.free < each.marks.end for each in rooms):
            self.is_ending = True
        if self.is_ending:
            self.sorts.cancel()
            spares = all(each.free > _HARD * each.segment for each in rooms)
            self.writers.begin(spares=spares)

    def _explain(self, now: float) -> None:
        """Report now and then what fills the disk; counting takes a while, so a copy does it."""
        if self.explaining and self.context.children.poll(self.explaining) is not None:
            self.explaining = 0
        if self.level == room.FULL and not self.explaining and now >= self.explain_due:
            self.explain_due = now + _EXPLAIN_EVERY
            self.explaining, read = copies.branch(self.context.children, self._say_what_fills_it)
            os.close(read)

    def _say_what_fills_it(self) -> bytes:
        folder, unit = self.disks.cause
        inodes = unit == brake.INODES
        found = filling.look(self.context, folder)
        log.warning(
            f"what fills the disk of {folder}:\n{filling.words(found, inodes=inodes)}",
            parts.hint(found, inodes=inodes),
            docs="when-the-disk-fills",
        )
        return b""

    def _checkpoint(self, now: float) -> None:
        """Request a checkpoint if the server can remove WAL after it."""
        if self.checkpoint:
            if self.context.children.poll(self.checkpoint) is None:
                return
            self.checkpoint = 0
            self.checkpoint_due = now + _CHECKPOINT_EVERY
        if now < self.checkpoint_due or self._removable() <= _KEPT[self.level]:
            return
        argv, environment = sessions.checkpoint(self.context)
        try:
            self.checkpoint = self.context.children.spawn(argv, environment)
        except Failure as failure:
            log.problem(failure.problems[0])
            self.checkpoint_due = now + _CHECKPOINT_EVERY

    def _make_reserve(self) -> None:
        data = self.context.settings.data_folder
        try:
            reserve.make(data, self.segment)
        except OSError as error:
            log.warning(f"cannot keep a reserve of space in pg_wal: {error}", docs="when-the-disk-fills")

    def _give_up_spare(self, now: float) -> None:
        """Remove what is ours and can be made again; a drill that was asked to end leaves something later."""
        if now < self.spare_due:
            return
        self.spare_due = now + _SPARE_EVERY
        for what, size in spare.give_up(self.context):
            log.info(f"removed {what} ({spell(size)}), since a disk of the server is about to be full")

    def _removable(self) -> int:
        """Return the number of segments that do not wait to be archived."""
        try:
            segments = sum(len(name) == installing.SEGMENT_NAME for name in os.listdir(self.wal))
            names = os.listdir(f"{self.wal}/archive_status")
        except OSError:
            return 0
        waiting = sum(len(name) == _WAITING and name.endswith(".ready") for name in names)
        return segments - waiting

    def close(self) -> None:
        """End our sessions."""
        self.writers.end()
        if self.checkpoint:
            self.context.children.end_group(self.checkpoint)
