"""What others wrote: the answers of archivers, objects in archives, files in a volume; pure.

It may be anything: nested without an end, too large, dated in the future, with names that are none. Whatever
is wrong with it is a ValueError, and nothing else.
"""

from __future__ import annotations

from entrypoint.light import re
from entrypoint.shown import inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

AHEAD = 60.0
"""Seconds that clocks may differ: what is later than this from now is not believed."""

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+@=-]{0,254}")
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")


def parse_json(text: str) -> Any:
    r"""Return the value of a JSON text; raises ValueError for all else.

    Line breaks in strings are taken: pgBackRest writes the words of a failure so.

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
    raise ValueError(f"{inline(text)} is no number")


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        _refuse(text[:40])
    return number


def word(value: object) -> str:
    """Return a name that is one word, without anything that parts words, paths or lines.

    >>> word("20261122-162042F"), word("a b")
    Traceback (most recent call last):
    ValueError: 'a b' is no name
    """
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"{inline(repr(value)[:80])} is no name")
    return value


def lsn(value: object) -> str:
    """Return an LSN as PostgreSQL writes it."""
    if not isinstance(value, str) or not _LSN.fullmatch(value):
        raise ValueError(f"{inline(repr(value)[:80])} is no LSN")
    return value


def identifier(value: object) -> str:
    r"""Return a system identifier: a number of 64 bits, or a text of one.

    >>> identifier(7577301420165435420), identifier("\x1b[2J")
    Traceback (most recent call last):
    ValueError: '\x1b[2J' is no system identifier
    """
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    good = text.isascii() and text.isdigit() and len(text) <= 20
    if not good:
        raise ValueError(f"{inline(repr(value)[:80])} is no system identifier")
    return text


def moment(text: str, now: float) -> float | None:
    """Return when something was noted (ISO 8601), in seconds since 1970; None: by a clock that was ahead.

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
    """Return a named tuple whose fields are all of the types of their defaults; raises ValueError."""
    for name in row._fields:
        value, usual = getattr(row, name), row._field_defaults.get(name, "")
        kind = (int, float) if isinstance(usual, (int, float)) else type(usual)
        good = isinstance(value, (int, str, kind) if usual is None else kind)
        if good and isinstance(value, (int, float)):
            good = abs(value) < _LARGE
        if not good:
            raise ValueError(f"{name} is not what it should be")
    return row


_LARGE = 10**100
"""Nothing that is noted is as much, and what is larger cannot be shown."""


class Reading:
    """A block in which whatever goes wrong means that what is read is not what it should be: a ValueError."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn a mistake into a ValueError."""
        if isinstance(error, LookupError):
            raise ValueError(f"{self.what} lacks {inline(str(error)[:80])}") from error  # noqa: TRY004 - which is what it is for
        if isinstance(error, (ArithmeticError, AttributeError, OSError, RecursionError, TypeError)):
            words = inline(str(error)[:200])
            raise ValueError(f"{self.what} is not understood: {words}") from error  # noqa: TRY004 - the same
