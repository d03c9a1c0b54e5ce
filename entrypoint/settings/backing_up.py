"""When base backups are taken, how, and which are kept; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import re
from entrypoint.settings.fields import Variable, choice, count, seconds
from entrypoint.settings.values import Backups
from entrypoint.shown import BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


VARIABLES = (
    Variable(
        "BACKUP_SCHEDULE",
        "",
        "When to take base backups, in cron's syntax, for example `0 3 * * *` or `@daily`. The first backup "
        "is taken right after the first start. If scheduled backups were missed, one is taken to make up "
        "for them.",
    ),
    Variable("BACKUP_TIMEZONE", "UTC", "Time zone of `BACKUP_SCHEDULE`, for example `Europe/Berlin`."),
    Variable(
        "BACKUP_JITTER",
        "0",
        "Maximum delay of a scheduled backup, in seconds. The delay is always the same for the same cluster "
        "and time.",
    ),
    Variable(
        "BACKUP_INCREMENTALS",
        "0",
        "How many incremental backups follow each scheduled full backup.",
    ),
    Variable(
        "BACKUP_RETAIN_FULL",
        "",
        "Keep this many full backups that can be restored, with their incremental backups and all WAL since.",
    ),
    Variable(
        "BACKUP_RETAIN_DAYS",
        "",
        "Keep everything that is needed to restore any moment of the last N days. If neither this nor "
        "`BACKUP_RETAIN_FULL` is set, nothing is ever removed; if both are set, a backup is kept if either "
        "keeps it.",
    ),
    Variable("BACKUP_TIMEOUT", "86400", "Seconds after which a backup is ended and counts as failed."),
    Variable(
        "BACKUP_RATE_LIMIT",
        "",
        "Maximum rate at which a backup reads, in bytes per second: a number, or a number with kB, MB or "
        "GB. wal-g only.",
    ),
    Variable(
        "BACKUP_VERIFY",
        "content",
        "What to verify after each backup: `content`, or `names` (no segment is missing; nothing is read).",
    ),
    Variable(
        "BACKUP_PING_URL",
        "",
        "An address of healthchecks.io, Uptime Kuma or the like that is requested when a backup starts, and "
        "again with a report when it has succeeded or failed.",
        secret=True,
        from_file=True,
    ),
    Variable(
        "BACKUP_VERIFY_PERIOD",
        "30",
        "Days in which `BACKUP_VERIFY=content` reads the whole archive once: after each backup it reads what "
        "is new and a slice of the rest.",
    ),
)
_ALL = {each.name: each for each in VARIABLES}


def parse(values: Mapping[str, str], *, archive: bool, wrong: bool) -> tuple[Backups, list[Problem]]:
    """Return when and how backups are taken, and the problems with that.

    `archive`: there is one to keep them in. `wrong`: other problems exist, which may be why there is none.
    """
    problems: list[Problem] = []
    schedule = values.get("BACKUP_SCHEDULE", "").strip()
    timezone = timezone_of(values)
    wanted = [name for name in values if name in _ALL and values[name]]
    if wanted and not archive and not wrong:
        verb = "is" if len(wanted) == 1 else "are"
        problems.append(
            Problem(
                f"{', '.join(sorted(wanted))} {verb} set, but there is no archive to keep backups in",
                "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
                docs="set-up-archiving",
            )
        )
    if schedule:
        # cronsim and the time zones are loaded only where there is a schedule.
        from entrypoint.settings import cron

        problems += cron.check(schedule, timezone, "BACKUP_SCHEDULE")
    found = Backups(
        schedule=schedule or None,
        timezone=timezone,
        jitter=seconds(values, _ALL["BACKUP_JITTER"], problems),
        incrementals=count(values, _ALL["BACKUP_INCREMENTALS"], problems, least=0) or 0,
        retain_full=count(values, _ALL["BACKUP_RETAIN_FULL"], problems, least=1),
        retain_days=count(values, _ALL["BACKUP_RETAIN_DAYS"], problems, least=1),
        timeout=seconds(values, _ALL["BACKUP_TIMEOUT"], problems),
        rate_limit=_rate(values, problems),
        contents=choice(values, _ALL["BACKUP_VERIFY"], ("content", "names"), problems) == "content",
        verify_days=count(values, _ALL["BACKUP_VERIFY_PERIOD"], problems, least=1)
        or int(_ALL["BACKUP_VERIFY_PERIOD"].default),
    )
    return found, problems


def timezone_of(values: Mapping[str, str]) -> str:
    """Return the time zone of all schedules, as the user wrote it."""
    return _ALL["BACKUP_TIMEZONE"].of(values)


def _rate(values: Mapping[str, str], problems: list[Problem]) -> int | None:
    text = values.get("BACKUP_RATE_LIMIT", "")
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,12}) *(B|kB|MB|GB)?", text)
    if found and int(found[1]):
        return int(found[1]) * BYTES[found[2] or ""]
    problems.append(
        Problem(
            f"BACKUP_RATE_LIMIT={text} is not a number of bytes per second",
            "give a number of bytes, or a number with kB, MB or GB, for example BACKUP_RATE_LIMIT=50MB",
        )
    )
    return None
