"""Which moments can be restored: from the oldest backup to the newest archived WAL, without the gaps; pure.

What the archive's backups cover is computed when they are listed, and noted next to the data, so that
`entrypoint status` asks no storage. How far the WAL in the archive reaches changes all the time, and is
known here.
"""

from __future__ import annotations

from entrypoint.archive import given_up
from entrypoint.archivers.terms import Verification
from entrypoint.backup import retention
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.shown import iso, seconds_in
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from entrypoint.archivers.terms import Backup
    from entrypoint.volume.facts import ArchiveState

__all__ = ["Coverage", "Gap", "Tick", "Window", "as_json", "cover", "parse", "reach", "window", "write"]

# All moments are in seconds since 1970.


class Tick(NamedTuple):
    """A backup that can be restored."""

    name: str
    moment: float
    """The first moment that can be restored from it."""
    proven: bool = False
    """A drill has restored it."""


class Gap(NamedTuple):
    """WAL that is missing between two backups; somewhere in it, no moment can be restored."""

    first: str
    last: str
    """The first and the last missing segment."""
    start: float
    """The newest moment that certainly can be restored: that of the backup before."""
    end: float | None
    """That of the next backup; None: there is none yet."""
    why: str = ""
    """Why it was made, if somebody chose that: ARCHIVE_WHEN_FULL=drop."""


class Coverage(NamedTuple):
    """What the backups of an archive cover."""

    url: str
    ticks: tuple[Tick, ...]
    """Oldest first."""
    gaps: tuple[Gap, ...] = ()


class Window(NamedTuple):
    """The moments that can be restored: all from `start` to `end` that are in no gap."""

    start: float
    end: float
    gaps: tuple[Gap, ...]
    ticks: tuple[Tick, ...]


def cover(url: str, backups: Sequence[Backup], found: Verification) -> Coverage:
    """Return what a cluster's backups cover, given the faults that the last verification found."""
    unsound = retention.unsound(backups, found.broken)
    # The tools report whole seconds.
    sound = sorted(
        ((_moment(each.finished) + 1, each) for each in backups if each.name not in unsound),
        key=lambda pair: pair[0],
    )
    gaps: list[Gap] = []
    for first, last in found.holes:
        named = segments.NAME.fullmatch(first) and segments.NAME.fullmatch(last)
        gap = _gap(first, last, sound) if named else None
        if gap is not None and gaps and gaps[-1][2:] == gap[2:]:
            gaps[-1] = gaps[-1]._replace(last=last)
        elif gap is not None:
            gaps.append(gap)
    return Coverage(url, tuple(Tick(each.name, moment) for moment, each in sound), tuple(gaps))


def _gap(first: str, last: str, sound: Sequence[tuple[float, Backup]]) -> Gap | None:
    """Return where in time missing segments are; None: before all backups, so that no restore needs them."""
    timeline = int(first[:8], 16)
    start, end = None, None
    for moment, backup in sound:
        size = segments.size_by(backup.first_segment, backup.start_lsn)
        begins = segments.parse_lsn(backup.start_lsn) // size
        ends = (segments.parse_lsn(backup.stop_lsn) - 1) // size
        if backup.timeline <= timeline and ends < segments.number(first, size):
            start = moment
        elif backup.timeline >= timeline and begins > segments.number(last, size) and end is None:
            end = moment
    return None if start is None else Gap(first, last, start, end)


def _moment(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def reach(state: ArchiveState, timeout: str, now: float) -> float | None:
    """Return the moment up to which everything that was written is in the archive; None: unknown.

    That is now while nothing written waits. PostgreSQL finishes a segment `timeout` (archive_timeout) after
    the first write to it, so a segment that waits holds nothing older than that.
    """
    if state.idle:
        return now
    last = None if state.last_archived_at is None else guest.moment(state.last_archived_at, now)
    seconds = seconds_in(timeout)
    if last is None or not seconds:
        return last
    failing = None if state.failing_since is None else guest.moment(state.failing_since, now)
    return min(now, max(last, min(now - (state.oldest_ready_seconds or 0), failing or now) - seconds))


def window(
    coverage: Coverage,
    reached: float | None,
    now: float,
    *,
    proven: Collection[str] = (),
    recorded: Sequence[given_up.Gap] = (),
) -> Window | None:
    """Return the moments that can be restored; None: there are none.

    `reached`: see `reach`. `proven`: the names of the backups that a drill has restored. `recorded`: the
    gaps that were made on purpose. A backup that is dated by a clock that was ahead does not count until
    that time.
    """
    ticks = tuple(
        each._replace(proven=each.name in proven)
        for each in coverage.ticks
        if each.moment <= now + guest.AHEAD
    )
    if not ticks:
        return None
    start, newest = ticks[0].moment, ticks[-1].moment
    end = max(newest, reached or 0)
    others = given_up.unrecorded(((each.first, each.last) for each in coverage.gaps), recorded)
    found = [each for each in coverage.gaps if each.start >= start and (each.first, each.last) in others]
    found += [made for each in recorded if (made := _made(each, ticks)) is not None]
    gaps = tuple(sorted(found, key=lambda each: each.start))
    end = min([end, *(each.start for each in gaps if each.end is None)])
    return Window(start, end, gaps, ticks)


def _made(gap: given_up.Gap, ticks: Sequence[Tick]) -> Gap | None:
    """Return where in time a recorded gap is; None: before all backups."""
    latest = gap.begun if gap.is_open else gap.back - 1
    before = [each.moment for each in ticks if each.moment <= latest]
    if not before:
        return None
    end = None if gap.is_open else next((each.moment for each in ticks if each.moment >= gap.back), gap.back)
    # A restore comes to any moment before the end of the last transaction, but not to that moment itself.
    last = float(-(-gap.reached // 1) - 1)
    return Gap(gap.first, gap.last, max(last, before[-1]), end, given_up.in_words(gap))


def as_json(found: Window) -> dict[str, object]:
    """Return the window for machines."""
    gaps = [
        {
            "from": iso(each.start),
            "to": None if each.end is None else iso(each.end),
            "first": each.first,
            "last": each.last,
            "why": each.why or None,
        }
        for each in found.gaps
    ]
    return {"from": iso(found.start), "to": iso(found.end), "gaps": gaps}


def parse(text: str) -> Coverage:
    """Parse the note; raises ValueError."""
    with guest.Reading("the coverage"):
        row = guest.parse_json(text)
        ticks = tuple(Tick(str(name), _known(moment)) for name, moment in row["ticks"])
        gaps = tuple(
            Gap(str(first), str(last), _known(start), None if end is None else _known(end))
            for first, last, start, end in row["gaps"]
        )
        return Coverage(str(row["url"]), ticks, gaps)


def _known(moment: float) -> float:
    if not 0 <= moment < _LARGE:
        raise ValueError(f"{moment} is not a time")
    return float(moment)


_LARGE = 2**36
"""None of our times is that late: the year 4147."""


def write(coverage: Coverage) -> str:
    """Return the text of the note."""
    import json

    ticks = [(each.name, each.moment) for each in coverage.ticks]
    gaps = [(each.first, each.last, each.start, each.end) for each in coverage.gaps]
    return json.dumps({"url": coverage.url, "ticks": ticks, "gaps": gaps}) + "\n"
