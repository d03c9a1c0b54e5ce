"""When the server's certificate expires."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

from entrypoint.light import re
from entrypoint.system import small

_FIRST = re.compile(rb"(?s)-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----")
_VERSION = 0xA0
_UTC_TIME = 0x17
"""Types of DER."""


def expiry(path: str) -> float | None:
    """Return when the first certificate of a file expires, in seconds since 1970; None: it cannot be read."""
    try:
        found = _FIRST.search(small.read(path, follow=True))
        return None if found is None else _expiry(b64decode(found[1]))
    except (OSError, ValueError, IndexError):
        return None


def _expiry(der: bytes) -> float:
    """Return the second time of the fifth part, which is the fourth if the version is not given."""
    parts = _parts(_parts(_parts(der)[0][1])[0][1])
    kind, text = _parts(parts[4 if parts[0][0] == _VERSION else 3][1])[1]
    digits = text.decode("ascii").removesuffix("Z")
    if kind == _UTC_TIME:
        digits = ("20" if digits < "50" else "19") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """Return the type and the content of each part."""
    found = []
    while der:
        size, start = der[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(der[2:start])
        found.append((der[0], der[start : start + size]))
        der = der[start + size :]
    return found
