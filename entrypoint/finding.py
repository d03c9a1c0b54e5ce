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
    hint: str = ""
    """The command, variable or action that fixes it; empty if all is well."""
    docs: str = ""
    """As in `Problem`."""


def ok(found: str) -> Finding:
    """Return that all is well, and what was seen."""
    return Finding(OK, found)


def warning(found: str, hint: str, docs: str = "") -> Finding:
    """Return what will or may do harm."""
    return Finding(WARNING, found, hint, docs)


def error(found: str, hint: str, docs: str = "") -> Finding:
    """Return what does harm now, or would cost data."""
    return Finding(ERROR, found, hint, docs)


def problem(told: Problem) -> Finding:
    """Return what would end a start."""
    return error(told.what, told.hint, told.docs)


def several(names: list[str], most: int = 5) -> str:
    """Return names for people, not too many.

    >>> several(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
