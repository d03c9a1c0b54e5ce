"""What people see: bytes in readable units, and text without characters that control a terminal; pure."""

from __future__ import annotations

BYTES = {"": 1, "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
"""PostgreSQL's units of memory, in bytes."""
MARK = "\x1e"
"""Begins a line that says whose it is, for the process that writes a log in JSON."""
BREAK = "\x1f"
"""Ends a line within a message that has a mark."""


def spell(count: float) -> str:
    """Return a number of bytes in a readable unit.

    >>> spell(8192), spell(3 * 1024**2), spell(150.4 * 1024**2), spell(20 * 1024**3)
    ('8 KiB', '3.0 MiB', '150 MiB', '20.0 GiB')
    """
    if count < 1024**2:
        return f"{count / 1024:.0f} KiB"
    if count < 10 * 1024**3:
        return f"{count / 1024**2:.{1 if count < 10 * 1024**2 else 0}f} MiB"
    return f"{count / 1024**3:.1f} GiB"


_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}
"""PostgreSQL's units of time, in seconds."""


def seconds_in(text: str) -> float:
    """Return the seconds in a time as PostgreSQL writes it; without a unit it is in seconds.

    >>> seconds_in("60"), seconds_in("5min"), seconds_in("100 ms")
    (60.0, 300.0, 0.1)
    """
    number = text.rstrip("dhimnsu ")
    return float(number) * _SECONDS[text[len(number) :].strip() or "s"]


def iso(moment: float) -> str:
    """Return a time, in seconds since 1970, as our output writes times.

    >>> iso(1e9)
    '2001-09-09T01:46:40+00:00'
    """
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(moment), UTC).isoformat()


def ago(seconds: float) -> str:
    """Return an age in words, rounded down; an age below zero is that of a time in the future.

    >>> ago(0.4), ago(1), ago(119), ago(3 * 3600), ago(86400), ago(1e9), ago(-30)
    ('now', '1 second ago', '1 minute ago', '3 hours ago', '24 hours ago', '11574 days ago', 'in 30 seconds')
    """
    size = abs(seconds)
    units = {"second": 60, "minute": 3600, "hour": 48 * 3600, "day": float("inf")}
    name = next(each for each, end in units.items() if size < end)
    count = int(size / {"second": 1, "minute": 60, "hour": 3600, "day": 86400}[name])
    words = f"{count} {name}{'' if count == 1 else 's'}"
    if not count:
        return "now"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Return a text in which every character is escaped that could control a terminal, break a line or hide.

    These are Unicode's control, format, private and unassigned characters and its line separators. Blanks and
    the characters in `keep` stay. Bytes that are not UTF-8 are escaped as well.

    >>> printable("a\x1b]0;x\x07\u2028\u202e\udcff ä\u00a0€")
    'a\\x1b]0;x\\x07\\u2028\\u202e\\xff ä\xa0€'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isspace() and code > 0x9F and character not in "\u2028\u2029":
        return character
    return ascii(character)[1:-1]


def inline(text: str) -> str:
    r"""Return a name on one line, without characters that control a terminal.

    >>> inline("a\nentrypoint: info: b")
    'a\\nentrypoint: info: b'
    """
    return printable(text, "")
