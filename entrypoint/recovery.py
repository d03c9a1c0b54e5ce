"""What a restore is asked for, which base backup fits, and why not; pure."""

from __future__ import annotations

from entrypoint import exits, guest, segments
from entrypoint.archivers import Backup, lsn_text
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re

# datetime and json cost a start that restores nothing as much as all the rest of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

LATEST = "LATEST"
TARGETS = {
    "RESTORE_TARGET_TIME": "time",
    "RESTORE_TARGET_NAME": "name",
    "RESTORE_TARGET_LSN": "lsn",
    "RESTORE_TARGET_XID": "xid",
    "RESTORE_TARGET": "immediate",
}
ACTIONS = ("promote", "pause", "shutdown")
FOLLOW = "follow"
"""What a standby does at the end of the archive, in place of an action; it cannot be asked for as one."""
_TRUE = ("on", "true", "yes", "1")
FALSE = ("off", "false", "no", "0")
_NAME_BYTES = 63
"""PostgreSQL cuts the name of a restore point after as many."""


_BACKUP = re.compile(r"(?i)latest|base_[0-9A-F_D]+|[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?")


def may_be_backup(text: str) -> bool:
    """Tell whether this can be the name of a backup, of either archiver.

    >>> [may_be_backup(text) for text in ("LATEST", "base_000000010000000000000002", "backup.sql")]
    [True, True, False]
    """
    return _BACKUP.fullmatch(text) is not None


def is_target(name: str, value: str) -> bool:
    """Tell whether one of RESTORE_TARGET* has a value that it can have."""
    return _malformed(name, TARGETS[name], value) is None


class Request(NamedTuple):
    """What the user wants back."""

    backup: str
    """A name, or `LATEST`: choose one."""
    kind: str = ""
    """`time`, `name`, `lsn`, `xid`, `immediate`; empty: the end of the archive."""
    value: str = ""
    """As it was written."""
    inclusive: bool = True
    timeline: str = "latest"
    """`latest`, `current` (the backup's), or a number."""
    action: str = "promote"

    @property
    def words(self) -> str:
        """The target, for people."""
        return {"": "the end of the archive", "immediate": "the end of the backup"}.get(
            self.kind, f"{self.kind} {self.value}"
        )


class Wal(NamedTuple):
    """The WAL in an archive along the history of one timeline."""

    timeline: int
    forks: tuple[tuple[int, int], ...]
    """Earlier timelines and the LSNs where each ended, oldest first."""
    names: frozenset[str]
    """All segments in the archive, of every timeline."""
    segment_bytes: int
    archived_at: datetime | None
    """When the newest segment came: no commit that it holds is younger."""

    @property
    def last(self) -> str | None:
        """The newest segment of the timeline; of one that has none yet the last before it."""
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
        """Where the archive ends."""
        return (segments.number(self.last, self.segment_bytes) + 1) * self.segment_bytes if self.last else 0


class Choice(NamedTuple):
    """The base backup to begin with, and what is to be replayed on it."""

    backup: Backup
    why: str
    timeline: int
    kind: str
    value: str
    """As PostgreSQL takes it."""
    inclusive: bool
    segments: int
    """How many are replayed at most."""
    earliest: str
    """The first point that can be restored: time and LSN, for people."""
    latest: str
    hole: tuple[str, str] | None
    """WAL segments that are missing, maybe only behind the target."""
    last_segment: str
    """The newest one of the archive when this was chosen."""


def parse(values: Mapping[str, str], problems: list[Problem]) -> Request | None:
    """Return what RESTORE_* ask for; None: nothing is to be restored."""
    given = {name: values[name] for name in TARGETS if values.get(name)}
    extra = [
        name
        for name in ("RESTORE_TARGET_INCLUSIVE", "RESTORE_TARGET_TIMELINE", "RESTORE_TARGET_ACTION")
        if values.get(name)
    ]
    backup = values.get("RESTORE_FROM", "").strip()
    if not backup:
        if given or extra:
            names = ", ".join([*given, *extra])
            problems.append(
                Problem(
                    f"{names} tells where a restore ends, but RESTORE_FROM is not set",
                    f"set RESTORE_FROM=LATEST, or remove {names}",
                )
            )
        return None
    if len(given) > 1:
        problems.append(
            Problem(
                f"several targets are set: {', '.join(given)}; a restore has one",
                f"keep one of {', '.join(given)}",
            )
        )
    name, value = next(iter(given.items()), ("", ""))
    value = value.strip()
    kind = TARGETS.get(name, "")
    problem = _malformed(name, kind, value)
    if problem is not None:
        problems.append(problem)
    inclusive = (values.get("RESTORE_TARGET_INCLUSIVE") or "on").lower()
    if inclusive not in _TRUE + FALSE:
        problems.append(
            Problem(
                f"RESTORE_TARGET_INCLUSIVE={inclusive} is not known",
                "set RESTORE_TARGET_INCLUSIVE to on or off",
            )
        )
    timeline = values.get("RESTORE_TARGET_TIMELINE") or "latest"
    if not re.fullmatch(r"latest|current|[1-9][0-9]{0,9}", timeline):
        problems.append(
            Problem(
                f"RESTORE_TARGET_TIMELINE={timeline} is no timeline",
                "set RESTORE_TARGET_TIMELINE to latest, current, or a timeline's number",
            )
        )
    action = values.get("RESTORE_TARGET_ACTION") or "promote"
    if action not in ACTIONS:
        problems.append(
            Problem(
                f"RESTORE_TARGET_ACTION={action} is not known",
                f"set RESTORE_TARGET_ACTION to {', '.join(ACTIONS)}",
            )
        )
    return Request(backup, kind, value, inclusive in _TRUE, timeline, action)


class Standby(NamedTuple):
    """How a standby follows, beside the archive."""

    conninfo: str
    """Of the primary to stream from; empty: by the archive alone. May hold a password."""
    slot: str


def parse_standby(values: Mapping[str, str], *, archive: bool, problems: list[Problem]) -> Standby | None:
    """Return what STANDBY_* ask for; None: this is to be no standby. `archive`: there is one to follow."""
    switch = (values.get("STANDBY") or "off").lower()
    conninfo, slot = values.get("STANDBY_PRIMARY_CONNINFO", ""), values.get("STANDBY_SLOT", "")
    if switch not in _TRUE + FALSE:
        problems.append(Problem(f"STANDBY={switch} is not known", "set STANDBY to on or off"))
    if switch not in _TRUE:
        given = [name for name in ("STANDBY_PRIMARY_CONNINFO", "STANDBY_SLOT") if values.get(name)]
        if given and switch in FALSE:
            names = ", ".join(given)
            problems.append(
                Problem(f"{names} is for a standby, but STANDBY is off", f"set STANDBY=on, or remove {names}")
            )
        return None
    targets = [name for name in values if name.startswith("RESTORE_TARGET") and values[name]]
    if targets:
        names = ", ".join(sorted(targets))
        problems.append(
            Problem(
                f"STANDBY=on contradicts {names}: a standby follows without end and stops at no target",
                f"remove {names} for a standby, or STANDBY to restore up to there",
            )
        )
    if not archive and not conninfo:
        problems.append(
            Problem(
                "STANDBY=on, but nothing says what to follow",
                "set ARCHIVE_URL to the primary's archive, or STANDBY_PRIMARY_CONNINFO to stream from it",
            )
        )
    wrong = conninfo_problem("STANDBY_PRIMARY_CONNINFO", conninfo)
    problems += [wrong] if wrong is not None else []
    if slot and not conninfo:
        problems.append(
            Problem(
                "STANDBY_SLOT is for streaming, but STANDBY_PRIMARY_CONNINFO is not set",
                "set STANDBY_PRIMARY_CONNINFO, or remove STANDBY_SLOT",
            )
        )
    if slot and not re.fullmatch(r"[a-z0-9_]{1,63}", slot):
        problems.append(
            Problem(
                f"STANDBY_SLOT={slot} is no name of a slot",
                "give lower case letters, digits and underscores, at most 63",
            )
        )
    return Standby(conninfo, slot)


def conninfo_problem(name: str, text: str) -> Problem | None:
    """Return what is wrong with a connection string, without a word of it.

    The server looks at it when it connects, and then logs what it could not read, every few seconds.
    """
    if "\n" in text or "\r" in text:
        return Problem(f"{name} holds a line break", "give it in one line: host=… user=…")
    if not text:
        return None
    from entrypoint import conninfo

    try:
        conninfo.parse(text)
    except ValueError as error:
        mend = "give it as libpq takes it, for example host=db1 user=replicator password='…'"
        return Problem(f"{name} is no connection string: {error}", mend)
    return None


def _malformed(name: str, kind: str, value: str) -> Problem | None:
    if kind == "time" and _moment(value) is None:
        mend = (
            "give ISO 8601, for example 2026-11-22T14:02:00+01:00 (without an offset it is UTC), or "
            "10 minutes ago"
        )
    elif kind == "lsn" and not re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", value):
        mend = "give it as pg_current_wal_lsn() does, for example 0/3000060"
    elif kind == "xid" and not (re.fullmatch(r"[0-9]{1,10}", value) and 3 <= int(value) < 2**32):
        mend = "give the number of a transaction, from 3 on, without its epoch"
    elif kind == "name" and (len(value.encode()) > _NAME_BYTES or not value.isprintable()):
        mend = f"give the name that pg_create_restore_point() was given, at most {_NAME_BYTES} bytes"
    elif kind == "immediate" and value != "immediate":
        mend = "set RESTORE_TARGET=immediate, or RESTORE_TARGET_TIME, _NAME, _LSN or _XID"
    else:
        return None
    return Problem(f"{name}={value} is not understood", mend)


_AGO = re.compile(r"([0-9]{1,9}) *(second|minute|hour|day)s? +ago")


def _moment(text: str, now: datetime | None = None) -> datetime | None:
    """Return the moment that a text names, if it is one.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
    >>> _moment("2 hours ago", now).isoformat()
    '2026-11-22T12:00:00+00:00'
    >>> _moment("2026-11-22T14:02:00+01:00", now).isoformat()
    '2026-11-22T14:02:00+01:00'
    """
    from datetime import UTC, datetime, timedelta

    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return (now or datetime.now(UTC)) - timedelta(**{f"{ago[2]}s": int(ago[1])})
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def has_no_offset(request: Request) -> bool:
    """Tell whether a time is taken for UTC since it has no offset."""
    if request.kind != "time" or _AGO.fullmatch(request.value):
        return False
    from datetime import datetime

    return datetime.fromisoformat(request.value).tzinfo is None


def history_of(names: Collection[str], request: Request, backups: Sequence[Backup]) -> int:
    """Return the timeline to follow, by the names of all segments and `.history` files in the archive."""
    if request.timeline.isdigit():
        return int(request.timeline)
    if request.timeline == "current":
        chosen = next((each for each in backups if each.name == request.backup), backups[-1])
        return chosen.timeline
    return max((int(name[:8], 16) for name in names), default=backups[-1].timeline)


def choose(request: Request, backups: Sequence[Backup], wal: Wal, now: datetime) -> Choice | Problem:
    """Return the newest base backup from which the target can be reached, or why there is none.

    `backups` are the cluster's, oldest first, at least one.
    """
    moment = _moment(request.value, now) if request.kind == "time" else None
    lsn = segments.parse_lsn(request.value) if request.kind == "lsn" else None
    usable = [each for each in backups if _leads_to(each, wal)]
    size = wal.segment_bytes
    earliest = f"{usable[0].finished} ({usable[0].stop_lsn})" if usable else "none"
    latest = f"{wal.archived_at.isoformat() if wal.archived_at else 'none'} ({lsn_text(wal.end_lsn)})"
    span = f"the archive holds what restores from {earliest} to {latest}"
    late = moment is not None and moment > min(now, wal.archived_at or now)
    late = late or (lsn is not None and lsn >= wal.end_lsn)
    if not usable:
        return _refusal(
            f"no base backup leads to timeline {wal.timeline} with all the WAL that it needs",
            "entrypoint backup verify tells what is missing; RESTORE_TARGET_TIMELINE chooses another one",
        )
    if late or not _is_before(usable[0], moment, lsn):
        where = "after the end of the archive" if late else "before the end of the first backup"
        return _refusal(
            f"the target ({request.words}) is {where}; {span}",
            "give a target in that range, or none to restore up to the end of the archive",
        )
    fitting = [each for each in usable if _is_before(each, moment, lsn)]
    if request.backup == LATEST:
        chosen = fitting[-1]
        why = "the newest that ended before the target" if moment or lsn else "the newest"
    else:
        (chosen,) = [each for each in backups if each.name == request.backup]
        why = "as asked for"
        if chosen not in fitting:
            other = (
                f"or leave the choice: RESTORE_FROM=LATEST would take {fitting[-1].name}" if fitting else ""
            )
            what = (
                f"ended after the target ({request.words})"
                if chosen in usable
                else f"does not lead to timeline {wal.timeline}, or segments that it needs are missing"
            )
            return _refusal(
                f"backup {chosen.name} {what}; {span}", f"name another backup, {other}".rstrip(", ")
            )
    hole = None if request.kind == "immediate" else _hole(chosen, lsn, wal)
    if hole is not None and request.kind in ("", "lsn"):
        before = segments.number(hole[0], size) * size
        return _refusal(
            f"the archive misses the WAL segments {hole[0]} to {hole[1]}, which backup {chosen.name} needs "
            f"to reach {request.words}",
            f"restore up to where the gap begins (RESTORE_TARGET_LSN={lsn_text(before - 1)}), this backup "
            "alone (RESTORE_TARGET=immediate), or from a backup behind it",
        )
    first = segments.parse_lsn(chosen.start_lsn) // size
    end = lsn if lsn is not None else wal.end_lsn - 1
    if request.kind == "immediate":
        end = segments.parse_lsn(chosen.stop_lsn)
    value = request.value
    if moment is not None:
        from datetime import UTC

        value = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    return Choice(
        backup=chosen,
        why=why,
        timeline=wal.timeline,
        kind=request.kind,
        value=value,
        inclusive=request.inclusive,
        segments=max(1, end // size - first + 1),
        earliest=earliest,
        latest=latest,
        hole=hole,
        last_segment=wal.last or "",
    )


def _leads_to(backup: Backup, wal: Wal) -> bool:
    """Tell whether a backup lies on the history of the timeline, and all WAL that it needs is there."""
    stop = segments.parse_lsn(backup.stop_lsn)
    on_the_way = backup.timeline == wal.timeline or any(
        timeline == backup.timeline and stop <= end for timeline, end in wal.forks
    )
    first = segments.of_lsn(backup.timeline, backup.start_lsn, wal.segment_bytes)
    last = segments.of_lsn(backup.timeline, backup.stop_lsn, wal.segment_bytes, end=True)
    return on_the_way and not segments.gaps(wal.names, first, last, (), wal.segment_bytes)


def _is_before(backup: Backup, moment: datetime | None, lsn: int | None) -> bool:
    if moment is not None:
        from datetime import datetime, timedelta

        # The tools tell whole seconds.
        return datetime.fromisoformat(backup.finished) + timedelta(seconds=1) <= moment
    return lsn is None or segments.parse_lsn(backup.stop_lsn) <= lsn


def _refusal(what: str, mend: str) -> Problem:
    return Problem(what, mend, exits.ARCHIVE_REFUSED)


def _hole(backup: Backup, lsn: int | None, wal: Wal) -> tuple[str, str] | None:
    """Return the first run of segments that the archive misses on the way."""
    if wal.last is None:
        return None
    size = wal.segment_bytes
    count = segments.number(wal.last, size)
    if lsn is not None:
        count = min(count, lsn // size)
    first = segments.of_lsn(backup.timeline, backup.start_lsn, size)
    # A timeline that has a history and no segment yet misses nothing.
    timeline = int(wal.last[:8], 16)
    forks = [fork for fork in wal.forks if fork[0] < timeline]
    found = segments.gaps(wal.names, first, segments.name(timeline, count, size), forks, size)
    return found[0] if found else None


# What an interrupted restore goes on with.


def record(choice: Choice, request: Request) -> str:
    """Return one line that holds what was chosen, and for what."""
    import json

    return json.dumps(
        {
            "backup": choice.backup.name,
            "timeline": choice.timeline,
            "kind": choice.kind,
            "value": choice.value,
            "inclusive": choice.inclusive,
            "segments": choice.segments,
            "last_segment": choice.last_segment,
            "asked": _asked(request),
        }
    )


class Recorded(NamedTuple):
    """What a restore that has begun was begun for."""

    backup: str
    timeline: int | None = None
    kind: str = ""
    value: str = ""
    inclusive: bool = True
    segments: int = 0
    asked: str = ""
    last_segment: str = ""
    """The newest one of the archive when it was begun; empty: not known."""

    def is_for(self, request: Request) -> bool:
        """Tell whether it is what is asked for now; the action may have changed."""
        return not self.asked or self.asked == _asked(request)

    @property
    def options(self) -> dict[str, str]:
        """The server's settings for it."""
        made = {"recovery_target_timeline": str(self.timeline or "latest")}
        if self.kind == "immediate":
            return {**made, "recovery_target": "immediate"}
        if self.kind:
            made[f"recovery_target_{self.kind}"] = self.value
            made["recovery_target_inclusive"] = "on" if self.inclusive else "off"
        return made

    @property
    def proof(self) -> str:
        """What shims/fetch-segment calls PROOF: nothing is promoted before the archive's end was read.

        PostgreSQL itself ends without a promotion where it does not come to a target.

        >>> Recorded("base_1", 2, last_segment="000000020000000000000007").proof
        '00000003.history/0000000000000007'
        """
        if self.kind or self.timeline is None or not self.last_segment:
            return ""
        return segments.proof(self.timeline, self.last_segment)


def recorded(detail: str) -> Recorded:
    """Return what `record` has written; before there were targets it was the backup's name."""
    try:
        with guest.Reading("the record"):
            found: Recorded = guest.typed(Recorded(**guest.parse_json(detail)))
            return found
    except ValueError:
        return Recorded(detail)


def _asked(request: Request) -> str:
    import json

    return json.dumps(request._replace(action="")[:5])
