"""What is found where something is looked at, and how bad it is; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from entrypoint.errors import Problem

    Level = Literal["ok", "warning", "error"]

OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
ERROR: Literal["error"] = "error"


class Finding(NamedTuple):
    """One thing that a check has found."""

    level: Level
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
