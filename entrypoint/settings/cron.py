"""Schedules in cron's syntax, and time zones; pure.

The one exception: the system's time zone data is read.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from entrypoint.errors import Problem

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Cron's own names, without `@reboot`, which is not a time."""


def in_fields(text: str) -> str:
    """Return a schedule in five fields.

    >>> in_fields("@Daily"), in_fields("0 3 * * *")
    ('0 0 * * *', '0 3 * * *')
    """
    return ALIASES.get(text.lower(), text)


def check(text: str, timezone: str, name: str) -> list[Problem]:
    """Return the problems with the schedule that the variable `name` sets, and with the time zone."""
    from cronsim import CronSim, CronSimError

    problems = []
    if zone(timezone) is None:
        problems.append(
            Problem(
                f"BACKUP_TIMEZONE={timezone} is not a time zone",
                "use a name such as Europe/Berlin or UTC",
            )
        )
    try:
        next(CronSim(in_fields(text), datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        problems.append(
            Problem(
                f"{name}={text} is not a schedule: {error}",
                f"give minute, hour, day of month, month and day of week, for example {name}='0 3 * * *', "
                "or one of " + " ".join(ALIASES),
            )
        )
    except StopIteration:
        problems.append(Problem(f"{name}={text} never occurs", f"set {name} to a day that exists"))
    return problems


def zone(name: str) -> tzinfo | None:
    """Return a time zone; None if the system does not know it."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder, a bad key, and not found
        return None
