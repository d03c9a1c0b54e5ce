"""Checks of free space."""

from __future__ import annotations

from entrypoint.doctor import judge
from entrypoint.doctor.judge.disk import Disk
from entrypoint.doctor.sight import CLUSTER, Check, Sight
from entrypoint.finding import Finding
from entrypoint.volume import reserve, room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.doctor.judge.disk import Reserve
    from entrypoint.volume.facts import Volume
    from entrypoint.volume.room import Level

_OWN = ("data", "wal")
"""The filesystems without which the server ends."""


def _space(sight: Sight) -> list[Finding]:
    found = {each.folder: sight.filling(each.folder) for each in sight.volumes if judge.disk.is_filling(each)}
    return judge.disk.space(sight.volumes, found)


def _full(sight: Sight) -> list[Finding]:
    own = [each for each in sight.volumes if each.name in _OWN]
    if not own:
        return []
    segment = sight.segment
    volume = min(own, key=lambda each: _rank(each, segment))
    known = sight.known
    level, since = (_level(volume, segment), None) if known is None else (known.level, known.level_since)
    parts = () if level == room.NORMAL else sight.filling(volume.folder)
    when_full = sight.settings.serving.when_full
    return judge.disk.full_disk(Disk(level, since, volume, segment, when_full, _reserve(sight), parts))


def _reserve(sight: Sight) -> Reserve:
    if not sight.lacks_reserve:
        return "there"
    return "soon" if reserve.can_make(sight.data_folder, sight.segment) else "none"


def _rooms(volume: Volume, segment: int) -> list[room.Room]:
    """Return the room of a filesystem as it is now: its bytes, and its inodes."""
    found = [room.look(room.Room(volume.size, segment), volume.free, 0.0)]
    if volume.files is not None and volume.free_files is not None:
        inodes = room.Room(volume.files, room.FILES, fastest=room.FASTEST_FILES)
        found.append(room.look(inodes, volume.free_files, 0.0))
    return found


def _rank(volume: Volume, segment: int) -> float:
    """Return how near a filesystem is to being full, the lower the nearer."""
    return min(each.free / each.marks.full for each in _rooms(volume, segment))


def _level(volume: Volume, segment: int) -> Level:
    return room.worst(tuple(each.level for each in _rooms(volume, segment)))


CHECKS = (
    Check(
        "free space",
        "a full disk stops the server or archiving",
        "the bytes and inodes of the filesystems of the data, the WAL, the tablespaces, the server's log, a "
        "local archive and the drills, each for itself, and what fills them",
        _space,
        docs="when-the-disk-fills",
    ),
    Check(
        "full disk",
        "PostgreSQL ends with a PANIC if no WAL fits on the disk, so transactions become read-only before",
        "what PID 1 reports about the disks of the data and the WAL, what fills them, and the reserve",
        _full,
        CLUSTER,
        "when-the-disk-fills",
    ),
)
