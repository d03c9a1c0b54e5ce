"""Findings of checks, and how serious they are; pure."""

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
    """One result of a check."""

    level: Level
    found: str
    hint: str = ""
    """The command, variable or action that fixes the problem; empty if there is none."""
    docs: str = ""
    """As in `Problem`."""


def ok(found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(OK, found)


def warning(found: str, hint: str, docs: str = "") -> Finding:
    """Return a finding about something that will or may do harm."""
    return Finding(WARNING, found, hint, docs)


def error(found: str, hint: str, docs: str = "") -> Finding:
    """Return a finding about something that does harm now, or would cost data."""
    return Finding(ERROR, found, hint, docs)


def problem(reason: Problem) -> Finding:
    """Return the finding for a problem that would end a start."""
    return error(reason.what, reason.hint, reason.docs)


def several(names: list[str], most: int = 5) -> str:
    """Return the first names as a list for people, and the number of the others.

    >>> several(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
