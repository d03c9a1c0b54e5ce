"""The objects of a log in JSON: their fields, and the moment and the level of each; pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from entrypoint.light import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = {
    "LOG": "info",
    "INFO": "info",
    "NOTICE": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "error",
    **{f"DEBUG{each}": "debug" for each in ("", 1, 2, 3, 4, 5)},
}
"""PostgreSQL's severities in English; lc_messages may translate them."""
LONGEST_RECORD = 16 * 1024**2
"""The most bytes of an object that the server writes; a longer one is passed on in pieces, as text."""
_OFFSET = re.compile(r"([+-]\d\d)(?::?(\d\d))?")
_STEP = 15 * 60
"""Seconds; every time zone differs from UTC by a multiple of this."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def pack(level: str, source: str, message: str, moment: str, fields: Mapping[str, object]) -> bytes:
    r"""Return an object as one line.

    >>> pack("info", "init", 'a "b"', "now", {"pid": 7})
    b'{"ts":"now","level":"info","source":"init","msg":"a \\"b\\"","pid":7}\n'
    """
    text = _encode({"ts": moment, "level": level, "source": source, "msg": message, **fields})
    # Half a surrogate pair, which only an escape in the server's own JSON can make, becomes an escape again.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def spell(seconds: float) -> str:
    """Return a moment in UTC.

    >>> spell(1795366842.5)
    '2026-11-22T17:00:42.500Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Zones:
    """The server's time zones: log_timezone appears in its log as an abbreviation, which says little."""

    def __init__(self) -> None:
        self._known = {"UTC": "Z", "GMT": "Z"}

    def moment(self, stamp: str, now: float) -> str:
        """Return the moment of a line as the server writes it, or `now` if that says nothing.

        A line is read right after it was written, so `now` shows what an abbreviation means.

        >>> zones = Zones()
        >>> zones.moment("2026-11-22 18:00:42.250 CET", 1795366842.5)
        '2026-11-22T18:00:42.250+01:00'
        >>> zones.moment("2026-11-22 13:30:42.250 -0330", 0)
        '2026-11-22T13:30:42.250-03:30'
        >>> zones.moment("yesterday", 1795366842.5)
        '2026-11-22T17:00:42.500Z'
        """
        when, _, zone = stamp.rpartition(" ")
        offset = self._known.get(zone)
        if offset is None:
            offset = _offset(when, zone, now)
            if offset is None:
                return spell(now)
            if len(self._known) < 100:
                self._known[zone] = offset
        return when.replace(" ", "T", 1) + offset


def _offset(when: str, zone: str, now: float) -> str | None:
    found = _OFFSET.fullmatch(zone)
    if found is not None:
        return f"{found[1]}:{found[2] or '00'}"
    try:
        local = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    steps = round((local - now) / _STEP)
    if abs(local - now - steps * _STEP) > _STEP / 3 or abs(steps) > 4 * 15:
        return None
    hours, quarters = divmod(abs(steps), 4)
    return f"{'-' if steps < 0 else '+'}{hours:02}:{quarters * 15:02}"


class Lines:
    """Cuts what arrives into lines; a line that is too long comes in pieces."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""

    def cut(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > self._longest:
            lines.append(rest[: self._longest])
            rest = rest[self._longest :]
        self._rest = rest
        return lines

    def end(self) -> list[bytes]:
        """Return the unfinished line."""
        lines, self._rest = [self._rest] if self._rest else [], b""
        return lines


class Records:
    """The server's own log in JSON (log_destination = jsonlog), with `ts`, `level`, `source` and `msg`."""

    waits = False
    """Whether a part of a message was read; a record is complete."""

    def __init__(self) -> None:
        self._lines = Lines(LONGEST_RECORD)
        self._zones = Zones()

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the objects that are complete now."""
        return b"".join([self._record(line, now) for line in self._lines.cut(data) if line])

    def flush(self, now: float, *, all_: bool) -> bytes:
        """Return what is left at the end."""
        return b"".join([self._record(line, now) for line in self._lines.end()]) if all_ else b""

    def _record(self, line: bytes, now: float) -> bytes:
        text = line.decode("utf-8", "backslashreplace")
        try:
            found = json.loads(text)
            message, severity = found.pop("message", ""), found.get("error_severity", "")
            level = LEVELS.get(severity) or _by_code(found.get("state_code", ""))
            return pack(level, "postgres", message, self._zones.moment(found.pop("timestamp"), now), found)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return pack("info", "postgres", text, spell(now), {})


def _by_code(code: str) -> str:
    """Return the level of a severity in another language, by the class of its SQLSTATE."""
    return "info" if code.startswith("00") else "warning" if code.startswith("01") else "error"
