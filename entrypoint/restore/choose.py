"""Which base backup a restore starts from, or why there is none; pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from entrypoint import exits
from entrypoint.archive import given_up
from entrypoint.archivers.terms import Backup
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.postgres.segments import lsn_text
from entrypoint.settings import restoring
from entrypoint.shown import iso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Literal

    from entrypoint.archive.given_up import Gap
    from entrypoint.settings.restoring import Kind, Request

    Reason = Literal[
        "no backup",
        "target too late",
        "target too early",
        "backup too late",
        "backup unfit",
        "gap",
        "given up",
    ]
    """Why nothing can be restored.

    `no backup`: no backup leads to the timeline with all its WAL. `target too late`: the target is after the
    end of the archive. `target too early`: it is before the end of the first backup. `backup too late`: the
    backup that was named ended after the target. `backup unfit`: that backup does not lead to the timeline
    with all its WAL. `gap`: the archive lacks WAL on the way to the target. `given up`: the archive says why.
    """


class Wal(NamedTuple):
    """The WAL in an archive along the history of one timeline."""

    timeline: int
    forks: tuple[tuple[int, int], ...]
    """Earlier timelines and the LSNs where each ended, oldest first."""
    names: frozenset[str]
    """All segments in the archive, of every timeline."""
    segment_bytes: int
    archived_at: datetime | None
    """When the newest segment arrived: it holds no later commit."""
    gaps: tuple[Gap, ...] = ()
    """The recorded gaps on the way, oldest first; none of their segments is in `names`."""

    @property
    def last(self) -> str | None:
        """The newest segment of the timeline, or the last one before it if the timeline has none yet."""
        size = self.segment_bytes
        for timeline, end in ((self.timeline, None), *reversed(self.forks)):
            found = [
                name
                for name in self.names
                if int(name[:8], 16) == timeline and (end is None or segments.number(name, size) * size < end)
            ]
            if found:
                return max(found)
        return None

    @property
    def end_lsn(self) -> int:
        """The LSN at which the archive ends."""
        return (segments.number(self.last, self.segment_bytes) + 1) * self.segment_bytes if self.last else 0


class Choice(NamedTuple):
    """The base backup to start from, and the WAL to replay on it."""

    backup: Backup
    why: str
    timeline: int
    kind: Kind
    value: str
    """In the form that PostgreSQL takes."""
    inclusive: bool
    segments: int
    """The most WAL segments that are replayed."""
    earliest: str
    """The first point that can be restored: time and LSN, for people."""
    latest: str
    hole: tuple[str, str] | None
    """WAL segments that are missing, perhaps only after the target."""
    last_segment: str
    """The newest segment in the archive at the time of the choice."""


class Refusal(NamedTuple):
    """Why no base backup can be restored as requested; `worded` puts it into words."""

    reason: Reason
    earliest: str = ""
    """The first point that can be restored, as in `Choice`."""
    latest: str = ""
    backup: str = ""
    """The name of the chosen backup."""
    better: str = ""
    """The name of the newest backup that fits, if the chosen one does not."""
    hole: tuple[str, str] | None = None
    """WAL segments that are missing on the way to the target."""
    reachable: int | None = None
    """An LSN before the gap that the backup can be restored to; None: there is none."""
    gap: Gap | None = None
    """The record of the gap."""


class _Aim(NamedTuple):
    """The target, as far as it can be compared with backups and WAL."""

    moment: datetime | None
    lsn: int | None
    xid: int | None = None

    def is_in(self, gap: Gap, wal: Wal) -> bool:
        """Return whether the target is in a gap, as far as that is known."""
        if self.moment is not None:
            return gap.hides(self.moment.timestamp())
        if self.lsn is not None:
            begins = segments.number(gap.first, wal.segment_bytes) * wal.segment_bytes
            return self.lsn >= begins and (gap.is_open or self.lsn < segments.parse_lsn(gap.back_lsn))
        return self.xid is not None and 0 < gap.xid % 2**32 < self.xid < gap.next_xid % 2**32

    def is_before(self, gap: Gap, wal: Wal) -> bool:
        """Return whether the target is known to be before a gap."""
        if self.moment is not None:
            return self.moment.timestamp() < gap.reached
        if self.lsn is not None:
            return self.lsn < segments.number(gap.first, wal.segment_bytes) * wal.segment_bytes
        return self.xid is not None and self.xid <= gap.xid % 2**32

    def is_behind(self, wal: Wal, now: datetime) -> bool:
        """Return whether the target comes after everything that is archived."""
        late = self.moment is not None and self.moment > min(now, wal.archived_at or now)
        return late or (self.lsn is not None and self.lsn >= wal.end_lsn)

    def is_reached_from(self, backup: Backup) -> bool:
        """Return whether a backup ended before the target."""
        if self.moment is not None:
            # The tools report whole seconds.
            return datetime.fromisoformat(backup.finished) + timedelta(seconds=1) <= self.moment
        return self.lsn is None or segments.parse_lsn(backup.stop_lsn) <= self.lsn


def history_of(names: Collection[str], request: Request, backups: Sequence[Backup]) -> int:
    """Return the timeline to follow, given the names of all segments and `.history` files in the archive."""
    if request.timeline.isdigit():
        return int(request.timeline)
    if request.timeline == "current":
        chosen = next((each for each in backups if each.name == request.backup), backups[-1])
        return chosen.timeline
    return max((int(name[:8], 16) for name in names), default=backups[-1].timeline)


def choose(request: Request, backups: Sequence[Backup], wal: Wal, now: datetime) -> Choice | Refusal:
    """Return the newest base backup from which the target can be reached, or why there is none.

    `backups` are the cluster's backups, oldest first; there is at least one.
    """
    aim = _Aim(
        restoring.moment(request.value, now) if request.kind == "time" else None,
        segments.parse_lsn(request.value) if request.kind == "lsn" else None,
        int(request.value) % 2**32 if request.kind == "xid" and request.value.isdecimal() else None,
    )
    usable = [each for each in backups if _leads_to(each, wal)]
    if not usable:
        return Refusal("no backup")
    earliest = f"{usable[0].finished} ({usable[0].stop_lsn})"
    latest = f"{wal.archived_at.isoformat() if wal.archived_at else 'none'} ({lsn_text(wal.end_lsn)})"
    inside = next((each for each in wal.gaps if aim.is_in(each, wal)), None)
    if inside is not None:
        return _given_up(inside, usable, wal, earliest, latest)
    if aim.is_behind(wal, now):
        return Refusal("target too late", earliest, latest)
    if not aim.is_reached_from(usable[0]):
        return Refusal("target too early", earliest, latest)
    fitting = [each for each in usable if aim.is_reached_from(each)]
    if aim.xid is not None:
        before = [gap for gap in wal.gaps if aim.is_before(gap, wal)]
        fitting = [
            each for each in fitting if all(given_up.is_needed(gap, [each]) for gap in before)
        ] or fitting
    if request.backup == restoring.LATEST:
        chosen = fitting[-1]
        why = "the newest that ended before the target" if aim.moment or aim.lsn else "the newest"
    else:
        (chosen,) = [each for each in backups if each.name == request.backup]
        why = "as requested"
        if chosen not in fitting:
            reason: Reason = "backup too late" if chosen in usable else "backup unfit"
            return Refusal(reason, earliest, latest, chosen.name, fitting[-1].name)
    between = _between(chosen, request, aim, wal)
    if between is not None:
        return _given_up(between, usable, wal, earliest, latest)._replace(backup=chosen.name)
    hole = None if request.kind == "immediate" else _hole(chosen, aim.lsn, wal)
    if hole is not None and request.kind in ("", "lsn"):
        reachable = _before(hole, chosen, wal)
        return Refusal("gap", earliest, latest, chosen.name, hole=hole, reachable=reachable)
    return Choice(
        backup=chosen,
        why=why,
        timeline=wal.timeline,
        kind=request.kind,
        value=_as_postgres_takes_it(request, aim),
        inclusive=request.inclusive,
        segments=_to_replay(request, chosen, aim, wal),
        earliest=earliest,
        latest=latest,
        hole=hole,
        last_segment=wal.last or "",
    )


def _between(backup: Backup, request: Request, aim: _Aim, wal: Wal) -> Gap | None:
    """Return the first gap between a backup and the target; a name may be on either side of it."""
    if request.kind in ("immediate", "name"):
        return None
    behind = (each for each in wal.gaps if given_up.is_needed(each, [backup]))
    return next((each for each in behind if not aim.is_before(each, wal)), None)


def _given_up(gap: Gap, usable: Sequence[Backup], wal: Wal, earliest: str, latest: str) -> Refusal:
    """Return the refusal to enter a gap, with the last point before it."""
    hole = (gap.first, gap.last)
    before = [each for each in usable if given_up.is_needed(gap, [each])]
    reachable = None
    if before:
        ends = segments.parse_lsn(before[-1].stop_lsn)
        lsn = segments.parse_lsn(gap.lsn) if gap.lsn else 0
        reachable = lsn if lsn >= ends else _before(hole, before[-1], wal)
    name = before[-1].name if before else ""
    return Refusal("given up", earliest, latest, better=name, hole=hole, reachable=reachable, gap=gap)


def worded(refusal: Refusal, request: Request, wal: Wal) -> Problem:
    """Return a refusal as a problem for people."""
    span = f"the archive can restore any point from {refusal.earliest} to {refusal.latest}"
    name, reason = refusal.backup, refusal.reason
    if reason == "no backup":
        what = f"no base backup on the way to timeline {wal.timeline} has all the WAL that it needs"
        hint = (
            "see what is missing: entrypoint backup verify; or choose another timeline: "
            "RESTORE_TARGET_TIMELINE"
        )
    elif reason in ("target too late", "target too early"):
        late = reason == "target too late"
        where = "after the end of the archive" if late else "before the end of the first backup"
        what = f"the target ({request.words}) is {where}; {span}"
        hint = "set a target in that range, or set none to restore up to the end of the archive"
    elif refusal.gap is not None:
        return _worded_gap(refusal, refusal.gap, request)
    elif reason == "gap" and refusal.hole is not None:
        first, last = refusal.hole
        lsn = refusal.reachable
        what = (
            f"the archive lacks the WAL segments {first} to {last}, which backup {name} needs "
            f"to reach {request.words}"
        )
        hint = "restore this backup alone (RESTORE_TARGET=immediate), or from a backup after the gap"
        if lsn is not None:
            hint = (
                f"restore up to the last segment before the gap (RESTORE_TARGET_LSN={lsn_text(lsn)}), this "
                "backup alone (RESTORE_TARGET=immediate), or from a backup after the gap"
            )
    else:
        why = (
            f"ended after the target ({request.words})"
            if reason == "backup too late"
            else f"does not lead to timeline {wal.timeline}, or segments that it needs are missing"
        )
        what = f"backup {name} {why}; {span}"
        hint = f"name another backup, or name none: RESTORE_FROM=LATEST would take {refusal.better}"
    return Problem(what, hint, exits.ARCHIVE_REFUSED, docs="restore-to-a-moment")


def _worded_gap(refusal: Refusal, gap: Gap, request: Request) -> Problem:
    """Return the refusal to enter a gap as a problem for people."""
    target = f"the target ({request.words})" if request.kind else "the end of the archive"
    where = f"there is a gap between backup {refusal.backup} and {target}"
    if not refusal.backup:
        where = f"{target} is in a gap of the archive"
    return _beside(gap, where, _ways(refusal, gap))


SOUGHT = ("name", "xid")
"""Kinds of targets whose place may be unknown until the replay comes to it."""


def unreached(request: Request, backups: Sequence[Backup], wal: Wal, failed: str = "") -> Problem | None:
    """Return the problem of a replay that has not found its target, if a gap can be the reason.

    Only a gap behind the backup can be: a replay that had none to cross has seen all that is newer than the
    backup. `failed` is the segment that could not be fetched: if it is in no gap, the storage is the reason.

    The request names the backup, and its target is one that is SOUGHT.
    """
    gaps = wal.gaps
    backup = next((each for each in backups if each.name == request.backup), None)
    if backup is None or (failed and not any(each.holds(failed) for each in gaps)):
        return None
    gap = next((each for each in gaps if given_up.is_needed(each, [backup])), None)
    if gap is None:
        return None
    usable = [each for each in backups if _leads_to(each, wal)]
    ways = _ways(_given_up(gap, usable, wal, "", ""), gap)
    older = [each.name for each in backups[: backups.index(backup)] if each in usable]
    if older:
        ways.append(f"the target, if it is older than this backup: RESTORE_FROM={older[-1]}")
    if gap.backup:
        ways.append(f"the target, if it is behind the gap: RESTORE_FROM={gap.backup}")
    where = f"was not found between backup {backup.name} and a gap of the archive"
    return _beside(gap, f"the target ({request.words}) {where}", ways)


def _beside(gap: Gap, where: str, ways: Sequence[str]) -> Problem:
    ends = "the next full backup, which is not there yet" if gap.is_open else iso(gap.back)
    return Problem(
        f"{where}: {given_up.in_words(gap)}; nothing between {iso(gap.reached)} and {ends} can be restored",
        f"restore one of these: {'; '.join(ways)}" if ways else "restore another archive",
        exits.ARCHIVE_REFUSED,
        docs="when-the-disk-fills",
    )


def _ways(refusal: Refusal, gap: Gap) -> list[str]:
    """Return the targets on both sides of a gap."""
    ways = []
    if refusal.reachable is not None:
        # A target must be before the end of a transaction, so only an LSN leads to the last one.
        ways.append(f"everything before it: RESTORE_TARGET_LSN={lsn_text(refusal.reachable)}")
    elif refusal.better:
        ways.append(f"the backup before it: RESTORE_FROM={refusal.better} and RESTORE_TARGET=immediate")
    if not gap.is_open:
        moment = iso(-(-gap.back // 1))
        ways.append(f"the first moment after it: RESTORE_TARGET_TIME={moment}")
        ways.append("everything: RESTORE_FROM=LATEST without a target")
    return ways


def _as_postgres_takes_it(request: Request, aim: _Aim) -> str:
    """Return the value of the target; a time is in UTC, whatever its zone was."""
    if aim.moment is None:
        return request.value
    return aim.moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def _to_replay(request: Request, chosen: Backup, aim: _Aim, wal: Wal) -> int:
    """Return the most segments that are replayed."""
    first = segments.parse_lsn(chosen.start_lsn) // wal.segment_bytes
    end = aim.lsn if aim.lsn is not None else wal.end_lsn - 1
    if request.kind == "immediate":
        end = segments.parse_lsn(chosen.stop_lsn)
    return max(1, end // wal.segment_bytes - first + 1)


def _leads_to(backup: Backup, wal: Wal) -> bool:
    """Return whether a backup is on the history of the timeline, with all the WAL that it needs."""
    stop = segments.parse_lsn(backup.stop_lsn)
    on_the_way = backup.timeline == wal.timeline or any(
        timeline == backup.timeline and stop <= end for timeline, end in wal.forks
    )
    first = segments.of_lsn(backup.timeline, backup.start_lsn, wal.segment_bytes)
    last = segments.of_lsn(backup.timeline, backup.stop_lsn, wal.segment_bytes, end=True)
    return on_the_way and not segments.gaps(wal.names, first, last, (), wal.segment_bytes)


def _before(hole: tuple[str, str], backup: Backup, wal: Wal) -> int | None:
    """Return the start of the last segment before a gap, unless the backup needs more than that.

    PostgreSQL stops at the first record that begins at or after the target. Later in the segment there may be
    none, and it would need the missing segment to find that out.
    """
    start = (segments.number(hole[0], wal.segment_bytes) - 1) * wal.segment_bytes
    return start if start >= segments.parse_lsn(backup.stop_lsn) else None


def _hole(backup: Backup, lsn: int | None, wal: Wal) -> tuple[str, str] | None:
    """Return the first run of segments that the archive lacks on the way to the target."""
    if wal.last is None:
        return None
    size = wal.segment_bytes
    count = segments.number(wal.last, size)
    if lsn is not None:
        count = min(count, lsn // size)
    first = segments.of_lsn(backup.timeline, backup.start_lsn, size)
    # A timeline that has a history but no segment yet lacks nothing.
    timeline = int(wal.last[:8], 16)
    forks = [fork for fork in wal.forks if fork[0] < timeline]
    found = segments.gaps(wal.names, first, segments.name(timeline, count, size), forks, size)
    return found[0] if found else None
