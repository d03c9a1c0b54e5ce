"""Times and durations as the page shows them; pure."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
"""Pairs of units, each with its seconds."""


def minute(moment: float) -> str:
    """Return a time in UTC, to the minute, for people.

    >>> minute(1e9), minute(1e30)
    ('2001-09-09 01:46', 'at an unknown time')
    """
    return written(moment, "%Y-%m-%d %H:%M")


def second(moment: float) -> str:
    """Return a time in UTC, to the second, for people.

    >>> second(1e9)
    '2001-09-09 01:46:40'
    """
    return written(moment, "%Y-%m-%d %H:%M:%S")


def written(moment: float, form: str) -> str:
    """Return a time in UTC in a form of strftime."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


def at(text: str) -> float | None:
    """Return the moment that a program wrote as ISO 8601, in seconds since 1970; None: it is not one.

    >>> at("2001-09-09T01:46:40+00:00"), at("yesterday")
    (1000000000.0, None)
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def lasting(seconds: float) -> str:
    """Return a duration in its two largest units.

    >>> [lasting(each) for each in (0.4, 9, 192, 7500, 360000, -5)]
    ['0.4 s', '9 s', '3 min 12 s', '2 h 5 min', '4 d 4 h', '0 s']
    """
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s".replace(".0 s", " s")
    if seconds < 60:
        return f"{seconds:.0f} s"
    length, name, part, smaller = next(each for each in _UNITS if seconds >= each[0])
    count, rest = divmod(int(seconds), length)
    more = rest // part
    return f"{count} {name} {more} {smaller}" if more else f"{count} {name}"
