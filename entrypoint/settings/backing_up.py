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
        "When base backups are taken, in cron's syntax, for example `0 3 * * *` or `@daily`. The first one "
        "is taken right after the first start; what was missed meanwhile is caught up once.",
    ),
    Variable("BACKUP_TIMEZONE", "UTC", "Time zone of `BACKUP_SCHEDULE`, for example `Europe/Berlin`."),
    Variable(
        "BACKUP_JITTER",
        "0",
        "Seconds by which a scheduled backup is late at most; always the same for one cluster and one time.",
    ),
    Variable(
        "BACKUP_INCREMENTALS",
        "0",
        "How many incremental backups follow each full one of the schedule.",
    ),
    Variable(
        "BACKUP_RETAIN_FULL",
        "",
        "Keep so many full backups that restore, with their incremental ones and all WAL since.",
    ),
    Variable(
        "BACKUP_RETAIN_DAYS",
        "",
        "Keep what restores any moment of so many days. With neither this nor `BACKUP_RETAIN_FULL` nothing "
        "is ever removed; with both, what either keeps is kept.",
    ),
    Variable("BACKUP_TIMEOUT", "86400", "Seconds after which a backup is ended and counts as failed."),
    Variable(
        "BACKUP_RATE_LIMIT",
        "",
        "Bytes per second that a backup reads at most: a number, or with kB, MB or GB. wal-g only.",
    ),
    Variable(
        "BACKUP_VERIFY",
        "content",
        "What is verified after each backup: `content`, or `names` (no segment is missing; nothing is read).",
    ),
    Variable(
        "BACKUP_VERIFY_PERIOD",
        "30",
        "Days in which the whole archive is read once by `BACKUP_VERIFY=content`: after each backup what is "
        "new, and a slice of the rest.",
    ),
)
_ALL = {each.name: each for each in VARIABLES}


def parse(values: Mapping[str, str], *, archive: bool, wrong: bool) -> tuple[Backups, list[Problem]]:
    """Return when backups are taken, and what is wrong with that.

    `archive`: there is one to keep them in; `wrong`: something else is, which is maybe why there is none.
    """
    problems: list[Problem] = []
    schedule = values.get("BACKUP_SCHEDULE", "").strip()
    timezone = timezone_of(values)
    wanted = [name for name in values if name in _ALL and values[name]]
    if wanted and not archive and not wrong:
        problems.append(
            Problem(
                f"{', '.join(sorted(wanted))}, but no archive is set to keep backups in",
                "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
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
    """Return the time zone of all schedules, as it was written."""
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
            f"BACKUP_RATE_LIMIT={text} is no number of bytes per second",
            "give bytes, or a number with kB, MB or GB, for example BACKUP_RATE_LIMIT=50MB",
        )
    )
    return None
