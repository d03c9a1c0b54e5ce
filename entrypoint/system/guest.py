"""What others wrote: the answers of archivers, objects in archives, files in a volume; pure.

It can be anything: endlessly nested, too large, dated in the future, with invalid names. Whatever is wrong
with it, these functions raise ValueError, and nothing else.
"""

from __future__ import annotations

from entrypoint.light import re
from entrypoint.shown import inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

AHEAD = 60.0
"""Seconds that clocks may differ: a time that is further ahead of now is not believed."""

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+@=-]{0,254}")
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")


def parse_json(text: str) -> Any:
    r"""Return the value of a JSON text; raises ValueError for anything else.

    Line breaks in strings are allowed, because pgBackRest writes error messages with them.

    >>> parse_json('{"a": "b\nc"}'), parse_json("[1e2]")
    ({'a': 'b\nc'}, [100.0])
    >>> parse_json("[" * 100000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    import json

    try:
        return json.loads(text, strict=False, parse_constant=_refuse, parse_float=_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{inline(text)} is not a number")


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        _refuse(text[:40])
    return number


def word(value: object) -> str:
    """Return a name that is one word, without characters that separate words, paths or lines.

    >>> word("20261122-162042F"), word("a b")
    Traceback (most recent call last):
    ValueError: 'a b' is not a name
    """
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"{inline(repr(value)[:80])} is not a name")
    return value


def lsn(value: object) -> str:
    """Return a valid LSN as PostgreSQL writes it; raises ValueError for anything else."""
    if not isinstance(value, str) or not _LSN.fullmatch(value):
        raise ValueError(f"{inline(repr(value)[:80])} is not an LSN")
    return value


def identifier(value: object) -> str:
    r"""Return a system identifier as text: a number of 64 bits, or its text.

    >>> identifier(7577301420165435420), identifier("\x1b[2J")
    Traceback (most recent call last):
    ValueError: '\x1b[2J' is not a system identifier
    """
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    good = text.isascii() and text.isdigit() and len(text) <= 20
    if not good:
        raise ValueError(f"{inline(repr(value)[:80])} is not a system identifier")
    return text


def moment(text: str, now: float) -> float | None:
    """Return a noted time (ISO 8601) in seconds since 1970; None: its clock was ahead, or it is no time.

    >>> moment("1970-01-01T00:01:40+00:00", 1000.0), moment("2999-01-01T00:00:00+00:00", 1000.0)
    (100.0, None)
    """
    from datetime import datetime

    try:
        found = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return found if found <= now + AHEAD else None


def typed(row: Any) -> Any:
    """Return a named tuple whose fields have the types of their defaults; raises ValueError."""
    for name in row._fields:
        value, usual = getattr(row, name), row._field_defaults.get(name, "")
        kind = (int, float) if isinstance(usual, (int, float)) else type(usual)
        good = isinstance(value, (int, str, kind) if usual is None else kind)
        if good and isinstance(value, (int, float)):
            good = abs(value) < _LARGE
        if not good:
            raise ValueError(f"{name} has an unexpected value")
    return row


_LARGE = 10**100
"""No noted number is this large, and larger ones cannot be shown."""


class Reading:
    """A block in which every error means that the input is not what it should be: it becomes a ValueError."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn an error into a ValueError."""
        if isinstance(error, LookupError):
            raise ValueError(f"{self.what} lacks {inline(str(error)[:80])}") from error  # noqa: TRY004 - that is its purpose
        if isinstance(error, (ArithmeticError, AttributeError, OSError, RecursionError, TypeError)):
            words = inline(str(error)[:200])
            raise ValueError(f"{self.what} is not understood: {words}") from error  # noqa: TRY004 - the same
