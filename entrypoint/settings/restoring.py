"""What to restore on an empty volume: from which backup, up to which target, and what to do then; pure."""

from __future__ import annotations

from entrypoint.archivers.known import BACKUP_NAME
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.settings.fields import FALSE, TRUE, Variable

# datetime takes as long to load as the rest of this file, and a start that restores nothing does without it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Literal

    from entrypoint.settings.following import Standby

    Kind = Literal["", "time", "name", "lsn", "xid", "immediate"]
    """The kind of a target; empty: the end of the archive."""
    Action = Literal["promote", "pause", "shutdown"]
    """What the user can request at a target."""
    AtTheEnd = Literal[Action, "follow"]

VARIABLES = (
    Variable(
        "RESTORE_FROM",
        "",
        "On an empty volume: restore this backup, by its name or `LATEST` (the newest that fits), and replay "
        "the archive up to the target. If the volume contains a database, that database is simply started.",
    ),
    Variable(
        "RESTORE_TARGET_TIME",
        "",
        "Restore up to this time: ISO 8601 (UTC if it has no offset), or for example `10 minutes ago` "
        "(seconds, minutes, hours, days). Set at most one target; without one, the restore replays the "
        "archive to its end.",
    ),
    Variable("RESTORE_TARGET_NAME", "", "Restore up to this restore point, see `pg_create_restore_point()`."),
    Variable("RESTORE_TARGET_LSN", "", "Restore up to this LSN, for example `0/3000060`."),
    Variable("RESTORE_TARGET_XID", "", "Restore up to this transaction, by its ID."),
    Variable("RESTORE_TARGET", "", "`immediate`: restore up to the end of the base backup."),
    Variable(
        "RESTORE_TARGET_INCLUSIVE",
        "on",
        "`off`: stop right before the target (time, LSN or transaction) instead of right after it.",
    ),
    Variable(
        "RESTORE_TARGET_TIMELINE",
        "latest",
        "Timeline to restore: `latest`, `current` (the backup's), or a timeline's number.",
    ),
    Variable(
        "RESTORE_TARGET_ACTION",
        "promote",
        "What to do at the target: `promote`, `pause` (serve read-only until you promote it), or `shutdown`.",
    ),
    Variable(
        "RESTORE_ARCHIVE_URL",
        "",
        "Restore from this archive instead of `ARCHIVE_URL`. To set any other variable for this archive "
        "only, put `RESTORE_` before its name, for example `RESTORE_AWS_ACCESS_KEY_ID`.",
        mixed=True,
        from_file=True,
    ),
    Variable(
        "RESTORE_ARCHIVE_TOOL",
        "as `ARCHIVE_TOOL`",
        "The archiver of that archive. It need not be set if variables of only one archiver are set with "
        "`RESTORE_` before their names.",
    ),
)

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
"""What a standby does at the end of the archive, in place of an action; the user cannot set it as one."""
_NAME_BYTES = 63
"""PostgreSQL truncates the name of a restore point to this length."""


def may_be_backup(text: str) -> bool:
    """Return whether a text can be the name of a backup, whichever archiver took it.

    >>> [may_be_backup(text) for text in ("LATEST", "base_000000010000000000000002", "backup.sql")]
    [True, True, False]
    """
    return text.upper() == LATEST or BACKUP_NAME.fullmatch(text) is not None


def is_target(name: str, value: str) -> bool:
    """Return whether a value is valid for this variable, one of RESTORE_TARGET*."""
    return _malformed(name, TARGETS[name], value) is None


class Request(NamedTuple):
    """What the user wants to restore."""

    backup: str
    """A backup's name, or `LATEST`: choose one."""
    kind: Kind = ""
    value: str = ""
    """As the user wrote it."""
    inclusive: bool = True
    timeline: str = "latest"
    """`latest`, `current` (the backup's), or a number."""
    action: AtTheEnd = "promote"

    @property
    def words(self) -> str:
        """The target as text for people."""
        return described(self.kind, self.value)


def described(kind: Kind, value: str) -> str:
    """Return a target as text for people."""
    ends: dict[Kind, str] = {"": "the end of the archive", "immediate": "the end of the backup"}
    return ends.get(kind, f"{kind} {value}")


def parse(
    values: Mapping[str, str], standby: Standby | None, *, source: bool
) -> tuple[Request | None, list[Problem]]:
    """Return what to restore, and the problems with it; None if nothing is to be restored.

    A standby is built from a backup and has no target. `source`: there is an archive to restore from.
    """
    if standby is None:
        return _request(values)
    if not source:
        return None, []
    backup = values.get("RESTORE_FROM", "").strip() or LATEST
    return Request(backup, action=FOLLOW), []


def _request(values: Mapping[str, str]) -> tuple[Request | None, list[Problem]]:
    problems: list[Problem] = []
    given = {name: values[name] for name in TARGETS if values.get(name)}
    extra = [
        name
        for name in ("RESTORE_TARGET_INCLUSIVE", "RESTORE_TARGET_TIMELINE", "RESTORE_TARGET_ACTION")
        if values.get(name)
    ]
    backup = values.get("RESTORE_FROM", "").strip()
    if not backup:
        if given or extra:
            names, verb = ", ".join([*given, *extra]), "is" if len([*given, *extra]) == 1 else "are"
            problems.append(
                Problem(
                    f"{names} {verb} set, but RESTORE_FROM is not set",
                    f"set RESTORE_FROM=LATEST, or remove {names}",
                    docs="restore-to-a-moment",
                )
            )
        return None, problems
    kind, value = _target(given, problems)
    inclusive = (values.get("RESTORE_TARGET_INCLUSIVE") or "on").lower()
    if inclusive not in TRUE + FALSE:
        problems.append(
            Problem(
                f"RESTORE_TARGET_INCLUSIVE={inclusive} is not a valid value",
                "set RESTORE_TARGET_INCLUSIVE to on or off",
            )
        )
    timeline = values.get("RESTORE_TARGET_TIMELINE") or "latest"
    if not re.fullmatch(r"latest|current|[1-9][0-9]{0,9}", timeline):
        problems.append(
            Problem(
                f"RESTORE_TARGET_TIMELINE={timeline} is not a timeline",
                "set RESTORE_TARGET_TIMELINE to latest, current, or a timeline's number",
            )
        )
    action = values.get("RESTORE_TARGET_ACTION") or "promote"
    if action not in ACTIONS:
        problems.append(
            Problem(
                f"RESTORE_TARGET_ACTION={action} is not a valid value",
                f"set RESTORE_TARGET_ACTION to {', '.join(ACTIONS)}",
            )
        )
    known = next((each for each in ACTIONS if each == action), ACTIONS[0])
    return Request(backup, kind, value, inclusive in TRUE, timeline, known), problems


def _target(given: Mapping[str, str], problems: list[Problem]) -> tuple[Kind, str]:
    """Return the kind and the value of the target; `given` are the variables RESTORE_TARGET* that are set."""
    if len(given) > 1:
        problems.append(
            Problem(
                f"several targets are set: {', '.join(given)}; a restore has only one",
                f"keep one of {', '.join(given)}",
                docs="restore-to-a-moment",
            )
        )
    for name, value in given.items():
        kind, value = TARGETS[name], value.strip()  # noqa: PLW2901
        problem = _malformed(name, kind, value)
        problems += [problem] if problem is not None else []
        return kind, value
    return "", ""


def _malformed(name: str, kind: Kind, value: str) -> Problem | None:
    if kind == "time" and not _is_moment(value):
        hint = (
            "give a time in ISO 8601, for example 2026-11-22T14:02:00+01:00 (UTC if it has no offset), or "
            "10 minutes ago"
        )
    elif kind == "lsn" and not re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", value):
        hint = "give an LSN as pg_current_wal_lsn() returns it, for example 0/3000060"
    elif kind == "xid" and not (re.fullmatch(r"[0-9]{1,10}", value) and 3 <= int(value) < 2**32):
        hint = "give a transaction ID without its epoch, at least 3"
    elif kind == "name" and (len(value.encode()) > _NAME_BYTES or not value.isprintable()):
        hint = f"give the name that was passed to pg_create_restore_point(), at most {_NAME_BYTES} bytes"
    elif kind == "immediate" and value != "immediate":
        hint = "set RESTORE_TARGET=immediate, or RESTORE_TARGET_TIME, _NAME, _LSN or _XID"
    else:
        return None
    return Problem(f"{name}={value} is malformed", hint)


_AGO = re.compile(r"([0-9]{1,9}) *(second|minute|hour|day)s? +ago")


def _is_moment(text: str) -> bool:
    """Return whether a text names a moment; the answer does not depend on the present time."""
    from datetime import UTC, datetime

    return moment(text, datetime(2026, 1, 1, tzinfo=UTC)) is not None


def moment(text: str, now: datetime) -> datetime | None:
    """Return the moment that a text names; None if it names none.

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
    """Return whether a time is taken as UTC because it has no offset."""
    if request.kind != "time" or _AGO.fullmatch(request.value):
        return False
    from datetime import datetime

    return datetime.fromisoformat(request.value).tzinfo is None
