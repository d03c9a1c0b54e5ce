"""What `doctor` says to what it has seen: evidence in, findings out; pure.

One module for each subject. Where the evidence comes from is in effects/checkup/, which also has the table of
all checks.
"""

import re
from typing import NamedTuple

from entrypoint.errors import Problem
from entrypoint.settings import UNITS

OK = "ok"
WARNING = "warning"
ERROR = "error"


class Finding(NamedTuple):
    """One thing that a check has found."""

    level: str
    """`ok`, `warning` or `error`."""
    found: str
    mend: str = ""
    """The command, variable or action that mends it; empty where all is well."""


def ok(found: str) -> Finding:
    """Return that all is well, and what was seen."""
    return Finding(OK, found)


def warning(found: str, mend: str) -> Finding:
    """Return what will hurt, or may."""
    return Finding(WARNING, found, mend)


def error(found: str, mend: str) -> Finding:
    """Return what hurts now, or would cost data."""
    return Finding(ERROR, found, mend)


def problem(told: Problem) -> Finding:
    """Return what would end a start."""
    return error(told.what, told.mend)


def several(names: list[str], most: int = 5) -> str:
    """Return names for people, not too many.

    >>> several(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def size(text: str) -> int:
    """Return the bytes of a setting as the server shows it.

    >>> size("4MB"), size("-1")
    (4194304, -1)
    """
    found = re.fullmatch(r"(-?\d+)(B|kB|MB|GB|TB)?", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2] or ""]
