"""How PID 1 sees that a disk is about to be full, and switches the server's settings.

Everything that a level needs is prepared before the server starts: on a full disk, nothing new can be
written. A level is switched by giving a prepared file another name.
"""

from __future__ import annotations

import os

from entrypoint.system import small, space
from entrypoint.volume import reserve, room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.volume.ahead import Ahead
    from entrypoint.volume.room import Level, Room

ACTIVE = "full-disk.conf"
"""The file in the runtime folder that the server's configuration includes last."""
BYTES, INODES = "bytes", "inodes"
_SHORT = 2
"""WAL segments for which there must be space, as long as the server runs."""
_SOON = 0.15
"""Seconds: with shorter pauses between two looks, the server's next segments are made for it."""
_CRUMBLE_EVERY = 1.0
"""Seconds from one crumb of the reserve to the next one."""
_STARTING = 0.1
"""Seconds between two looks whether the server has its lock file."""


def prepared(level: Level) -> str:
    """Return the name of the file in the runtime folder with a level's settings."""
    return f"full-disk.{level}.conf"


def switch(runtime_folder: str, level: Level) -> bool:
    """Make a level's settings those that the server reads next; return whether they have changed.

    Without prepared files (ARCHIVE_WHEN_FULL=wait) nothing changes.
    """
    path, chosen = f"{runtime_folder}/{ACTIVE}", f"{runtime_folder}/{prepared(level)}"
    try:
        if os.path.lexists(path) and os.path.samefile(path, chosen):
            return False
        if os.path.lexists(f"{path}.new"):
            os.unlink(f"{path}.new")
        os.link(chosen, f"{path}.new")
        os.replace(f"{path}.new", path)
    except OSError:
        return False
    return True


def level_of(rooms: Sequence[Room]) -> Level:
    """Return the highest level of some rooms."""
    return room.worst(tuple(each.level for each in rooms))


def active(runtime_folder: str) -> Level:
    """Return the level whose settings the server has, or was started with."""
    for level in room.LEVELS:
        try:
            if os.path.samefile(f"{runtime_folder}/{ACTIVE}", f"{runtime_folder}/{prepared(level)}"):
                return level
        except OSError:
            continue
    return room.NORMAL


def _badness(seen: Room) -> tuple[int, float]:
    """Return how full a room is, for comparisons."""
    return room.LEVELS.index(seen.level), -seen.free / max(1, seen.marks.tight)


class Brake:
    """The filesystems of the server, as PID 1 sees them."""

    def __init__(self, folders: Sequence[str], segment: int, level: Level = room.NORMAL) -> None:
        self.folders = folders
        self.segment = segment
        self.rooms: dict[tuple[str, str], Room] = {}
        self.level = level
        self.due = 0.0
        """When to look again, in seconds of the clock of `now`."""
        self.cause = ("", BYTES)
        """The folder, and bytes or inodes: what is missing, or was missing when the level became higher."""
        self.is_up = False
        """The server has come so far that it reloads its settings on SIGHUP."""
        self.crumble_at = 0.0
        """When a part of the reserve may be removed again."""

    def look(self, now: float) -> Level:
        """Look at all filesystems; return the level of the worst one."""
        for folder in self.folders:
            try:
                found = space.look(folder)
            except OSError:
                continue  # its server is about to end as well
            known = self.rooms.get((folder, BYTES), room.Room(found.size, self.segment, level=self.level))
            self.rooms[folder, BYTES] = room.look(known._replace(size=found.size), found.free, now)
            if found.files:
                known = self.rooms.get(
                    (folder, INODES), room.Room(found.files, room.FILES, fastest=room.FASTEST_FILES)
                )
                self.rooms[folder, INODES] = room.look(known, found.free_files, now)
        level = level_of([*self.rooms.values()])
        if room.LEVELS.index(level) >= room.LEVELS.index(self.level):
            self.cause = max(self.rooms, key=lambda each: _badness(self.rooms[each]), default=self.cause)
        self.level = level
        self.due = now + min(map(room.next_look, self.rooms.values()), default=room.SELDOM)
        return self.level

    def can_switch(self, data_folder: str, server: int, now: float) -> bool:
        """Return whether SIGHUP makes the server reload; until it has its lock file, it would end."""
        if not self.is_up:
            self.due = now + _STARTING
            try:
                self.is_up = small.read_text(f"{data_folder}/postmaster.pid").startswith(f"{server}\n")
            except OSError:
                return False
        return self.is_up

    def provide(self, ahead: Ahead, now: float) -> int:
        """Keep what the server needs when nothing is free; return how many segments of the reserve it got."""
        ahead.keep(now, soon=self.due - now <= _SOON)
        if not self.is_short:
            return 0
        if now >= self.crumble_at and reserve.crumble(ahead.data):
            self.crumble_at = now + _CRUMBLE_EVERY
        return reserve.lend(ahead.data, self.segment, ahead.server)

    @property
    def is_short(self) -> bool:
        """Whether the server may not find the space for its next WAL segments."""
        return any(each.free < _SHORT * each.segment for each in self.rooms.values())

    def words(self) -> str:
        """Return what is free where it became full, for the log."""
        folder, unit = self.cause
        number = self.rooms[self.cause].free
        free = f"{number // 1024**2} MiB" if unit == BYTES else f"{number} inodes"
        return f"{free} are free on the disk of {folder}"
