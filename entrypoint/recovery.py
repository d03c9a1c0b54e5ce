"""What RESTORE_* and STANDBY_* ask for: where a recovery begins, where it ends, and what then; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re

# datetime costs a start that restores nothing as much as all the rest of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Literal

    Kind = Literal["", "time", "name", "lsn", "xid", "immediate"]
    """Of a target; empty: the end of the archive."""
    Action = Literal["promote", "pause", "shutdown"]
    """What can be asked for at a target."""
    AtTheEnd = Literal[Action, "follow"]

LATEST = "LATEST"
TARGETS: dict[str, Kind] = {
    "RESTORE_TARGET_TIME": "time",
    "RESTORE_TARGET_NAME": "name",
    "RESTORE_TARGET_LSN": "lsn",
    "RESTORE_TARGET_XID": "xid",
    "RESTORE_TARGET": "immediate",
}
ACTIONS: tuple[Action, ...] = ("promote", "pause", "shutdown")
FOLLOW: Literal["follow"] = "follow"
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
    kind: Kind = ""
    value: str = ""
    """As it was written."""
    inclusive: bool = True
    timeline: str = "latest"
    """`latest`, `current` (the backup's), or a number."""
    action: AtTheEnd = "promote"

    @property
    def words(self) -> str:
        """The target, for people."""
        return described(self.kind, self.value)


def described(kind: Kind, value: str) -> str:
    """Return a target for people."""
    ends: dict[Kind, str] = {"": "the end of the archive", "immediate": "the end of the backup"}
    return ends.get(kind, f"{kind} {value}")


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
    kind, value = _target(given, problems)
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
    known = next((each for each in ACTIONS if each == action), ACTIONS[0])
    return Request(backup, kind, value, inclusive in _TRUE, timeline, known)


def _target(given: Mapping[str, str], problems: list[Problem]) -> tuple[Kind, str]:
    """Return what kind of target is set, and its value; `given` are those of RESTORE_TARGET* that are."""
    if len(given) > 1:
        problems.append(
            Problem(
                f"several targets are set: {', '.join(given)}; a restore has one",
                f"keep one of {', '.join(given)}",
            )
        )
    for name, value in given.items():
        kind, value = TARGETS[name], value.strip()  # noqa: PLW2901
        problem = _malformed(name, kind, value)
        problems += [problem] if problem is not None else []
        return kind, value
    return "", ""


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


def _malformed(name: str, kind: Kind, value: str) -> Problem | None:
    if kind == "time" and not _is_moment(value):
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


def _is_moment(text: str) -> bool:
    """Tell whether a text names a moment: what is one at any time is one later as well."""
    from datetime import UTC, datetime

    return moment(text, datetime(2026, 1, 1, tzinfo=UTC)) is not None


def moment(text: str, now: datetime) -> datetime | None:
    """Return the moment that a text names, if it is one.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
    >>> moment("2 hours ago", now).isoformat()
    '2026-11-22T12:00:00+00:00'
    >>> moment("2026-11-22T14:02:00+01:00", now).isoformat()
    '2026-11-22T14:02:00+01:00'
    """
    from datetime import UTC, datetime, timedelta

    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return now - timedelta(**{f"{ago[2]}s": int(ago[1])})
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
