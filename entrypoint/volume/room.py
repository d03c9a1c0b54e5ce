"""How near a filesystem of the server is to being full, from what was free at the last looks; pure.

PostgreSQL ends with PANIC if it cannot create a WAL segment. So PID 1 looks at the filesystems of the WAL and
of the data folder, more often the sooner they can be full, and this module decides on one of three levels. A
level begins early enough for what has to be done on it at the present rate, and ends only well above where it
begins. The same holds for inodes, without which no segment can be created either: there, the unit is a file.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    Level = Literal["normal", "tight", "full"]

NORMAL: Final = "normal"
TIGHT: Final = "tight"
"""The server gives up what can be made again, and keeps no more WAL than it must; it takes writes as ever."""
FULL: Final = "full"
"""Transactions are read-only."""
LEVELS: tuple[Level, ...] = (NORMAL, TIGHT, FULL)

_SEGMENTS = 8
"""WAL segments that are to be free when transactions become read-only."""
_FEWEST_SEGMENTS = 4
"""The same on a filesystem that is so small that this would be a large part of it."""
_PART = 5
"""What is a large part: a fifth of it."""
_RATE_SPAN = 2.0
"""Seconds over which the rate is measured. WAL grows by whole segments, so a shorter time shows nothing."""
FASTEST = 2 * 1024**3
"""Bytes per second that no server writes."""
FILES = 8
"""Inodes count as if a WAL segment took this many: 64 are to be free when transactions become read-only."""
FASTEST_FILES = 100_000
"""Files per second that no server creates."""
_OFTEN, SELDOM = 0.1, 5.0
"""Seconds between two looks."""
_TO_FULL, _TO_TIGHT, _TO_END = 1.0, 3.0, 1.0
"""Seconds until something has an effect: a reload; a helper that has to start first; and the helper that runs
already and ends the transactions that write. On a machine with much to do, none of them is quicker."""


class Marks(NamedTuple):
    """How many free bytes make each level."""

    tight: int
    full: int
    end: int
    """Below it, transactions that write are ended."""
    calm: int
    """Above it, it is no longer full."""
    normal: int
    """Above it, it is no longer tight."""


class Room(NamedTuple):
    """The bytes or the inodes of one filesystem, as they were at the last looks."""

    size: int
    """Bytes, without those that are reserved for root."""
    segment: int
    """Bytes of one WAL segment."""
    fastest: int = FASTEST
    level: Level = NORMAL
    looks: tuple[tuple[float, int], ...] = ()
    """When, in seconds of a clock that is never set, and the bytes that were free."""

    @property
    def free(self) -> int:
        """The bytes that were free at the last look."""
        return self.looks[-1][1] if self.looks else self.size

    @property
    def rate(self) -> float:
        """Bytes per second by which the free space shrinks."""
        if len(self.looks) < 2:
            return 0.0
        (first, most), (last, free) = self.looks[0], self.looks[-1]
        return max(0.0, (most - free) / max(1.0, last - first))

    @property
    def marks(self) -> Marks:
        """The marks at the present rate."""
        return marks(self.size, self.segment, self.rate)


def marks(size: int, segment: int, rate: float = 0.0) -> Marks:
    """Return how many free bytes make each level.

    >>> [number // 1024**2 for number in marks(100 * 1024**3, 16 * 1024**2)]
    [256, 128, 96, 224, 320]
    >>> [number // 1024**2 for number in marks(512 * 1024**2, 16 * 1024**2)]
    [204, 102, 76, 185, 255]
    """
    full = max(_FEWEST_SEGMENTS * segment, min(_SEGMENTS * segment, size // _PART))
    # A filesystem that is always below the mark of its level would never leave it.
    calm = min(full * 3 // 2 + 2 * segment, max(full, size // 2))
    return Marks(
        tight=2 * full + int(rate * _TO_TIGHT),
        full=full + int(rate * _TO_FULL),
        end=full * 3 // 4 + int(rate * _TO_END),
        calm=calm,
        normal=max(calm, full * 5 // 2),
    )


def look(room: Room, free: int, now: float) -> Room:
    """Return the room after one more look, with the level that follows from it."""
    since = now - _RATE_SPAN
    recent = [each for each in room.looks if each[0] > since]
    older = [each for each in room.looks if each[0] <= since][-1:]
    room = room._replace(looks=(*older, *recent, (now, free)))
    return room._replace(level=_level(room))


def _level(room: Room) -> Level:
    mark = room.marks
    if room.free < mark.full or (room.level == FULL and room.free < mark.calm):
        return FULL
    if room.free < mark.tight or (room.level != NORMAL and room.free < mark.normal):
        return TIGHT
    return NORMAL


def next_look(room: Room) -> float:
    """Return after how many seconds to look again, so that no mark is passed in between.

    >>> next_look(Room(10**12, 16 * 1024**2, looks=((0.0, 9 * 10**11),)))
    5.0
    >>> next_look(Room(10**9, 16 * 1024**2, looks=((0.0, 3 * 10**8),)))
    0.1
    """
    left = room.free - room.marks.tight
    return min(SELDOM, max(_OFTEN, left / room.fastest))


def worst(levels: tuple[Level, ...]) -> Level:
    """Return the highest of some levels.

    >>> worst((NORMAL, FULL, TIGHT)), worst(())
    ('full', 'normal')
    """
    return max(levels, key=LEVELS.index, default=NORMAL)
