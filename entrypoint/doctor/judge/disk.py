"""How full each filesystem is, what fills it, and what happens before the server's own are full; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrypoint.finding import Finding, error, ok, warning
from entrypoint.full_disk import parts
from entrypoint.full_disk.parts import Part
from entrypoint.light import NamedTuple
from entrypoint.shown import iso, spell
from entrypoint.volume import room
from entrypoint.volume.facts import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from entrypoint.settings.serving import WhenFull
    from entrypoint.volume.room import Level

    Reserve = Literal["there", "soon", "none"]

_TIGHT = 85
_FULL = 95
"""Percent: the last gigabyte of 20 GB, which the WAL of one checkpoint can fill."""
_DAY = 86400
_SOON = 6 * 3600
"""Seconds: less time than a night's sleep."""
_NEVER = "never delete files in pg_wal yourself"


def is_filling(volume: Volume) -> bool:
    """Return whether a filesystem is worth a warning, so that people need to know what fills it."""
    soon = volume.full_seconds is not None and volume.full_seconds < _DAY
    return soon or max(volume.percent, volume.files_percent) >= _TIGHT


def lacks_inodes(volume: Volume) -> bool:
    """Return whether a filesystem has more space left than inodes."""
    return volume.files_percent > max(volume.percent, _TIGHT)


def space(volumes: Sequence[Volume], filling: Mapping[str, tuple[Part, ...]] | None = None) -> list[Finding]:
    """Judge how full the filesystems are, and how soon they will be; `filling`: the parts by the folder."""
    return [_space(volume, (filling or {}).get(volume.folder, ())) for volume in volumes]


def _space(volume: Volume, found: tuple[Part, ...]) -> Finding:
    percent = volume.percent
    what = f"the filesystem of {volume.folder} is {percent:.0f} % full, {spell(volume.free)} are free"
    left = _DAY if volume.full_seconds is None else volume.full_seconds
    if left < _DAY:
        what += f"; at the present rate it is full in {left / 3600:.1f} hours"
    if volume.files_percent >= _TIGHT:
        what += f"; {volume.files_percent:.0f} % of its inodes are used, {volume.free_files} are free"
    percent = max(percent, volume.files_percent)
    if not is_filling(volume):
        return ok(what)
    judge = error if percent >= _FULL or left < _SOON else warning
    inodes = lacks_inodes(volume)
    lines = [what, parts.words(found, inodes=inodes)]
    hints = [parts.hint(found, inodes=inodes) or "free some space", _NEVER]
    return judge("\n".join(filter(None, lines)), "\n".join(hints))


class Disk(NamedTuple):
    """The server's own filesystem that has the least room, and how near it is to being full."""

    level: Level
    since: int | None
    """When the level began, in seconds since 1970; None: PID 1 does not say."""
    volume: Volume
    segment: int
    """Bytes of a WAL segment."""
    when_full: WhenFull
    reserve: Reserve = "there"
    """`soon`: it is not there, but there is room for it; `none`: there is no room for it."""
    filling: tuple[Part, ...] = ()

    @property
    def left(self) -> str:
        """What is free."""
        free = f"{spell(self.volume.free)} are free on the disk of {self.volume.folder}"
        if not lacks_inodes(self.volume):
            return free
        return f"{self.volume.free_files} inodes are free on the disk of {self.volume.folder}"


def full_disk(disk: Disk) -> list[Finding]:
    """Judge how near the server is to a full disk, and what happens then."""
    inodes = lacks_inodes(disk.volume)
    since = "" if not disk.since else f" since {iso(disk.since)}"
    lines, hints = [parts.words(disk.filling, inodes=inodes)], [parts.hint(disk.filling, inodes=inodes)]
    marks = room.marks(disk.volume.size, disk.segment)
    if disk.level == room.FULL and disk.when_full == "wait":
        panic = "PostgreSQL ends with a PANIC when no WAL fits (ARCHIVE_WHEN_FULL=wait)"
        lines.insert(0, f"the disk is nearly full{since}, and {panic}: {disk.left}")
        judge = error
    elif disk.level == room.FULL:
        lines.insert(0, f"transactions are read-only{since}, because the disk is nearly full: {disk.left}")
        hints.append("writes are accepted again as soon as there is room")
        judge = error
    elif disk.level == room.TIGHT:
        then = "PostgreSQL ends with a PANIC when no WAL fits (ARCHIVE_WHEN_FULL=wait)"
        if disk.when_full != "wait":
            then = f"with less than {spell(marks.full)}, transactions become read-only"
        lines.insert(0, f"the disk is filling up{since}: {disk.left}; {then}")
        judge = warning
    elif disk.reserve == "none":
        what = f"the reserve for a clean stop and the next start is missing: {disk.left}"
        return [warning(what, "make the disk larger; the reserve is made again as soon as there is room")]
    else:
        there = "is there" if disk.reserve == "there" else "is made soon"
        return [ok(f"{disk.left}, and the reserve for a clean stop {there}")]
    return [judge("\n".join(filter(None, lines)), "\n".join(filter(None, [*hints, _NEVER])))]
