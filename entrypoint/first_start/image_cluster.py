"""Decides when a first start may copy the image's cluster, and what must differ in the copy; pure.

Two clusters that initdb makes with the same arguments, programs and locale differ in two numbers: the
system identifier, in the control file and in the first page of a WAL segment, and the nonce with which the
server answers logins of unknown users (postgres/postgres:src/backend/access/transam/xlog.c).
"""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint.light import re

SEGMENT_BYTES = 16 * 1024**2
"""The size of a segment unless initdb has another size in its arguments."""
IDENTIFIER_IN_WAL = slice(24, 32)
"""The system identifier in the first page of a segment (XLogLongPageHeaderData)."""
NONCE_BYTES = 32

_IDENTIFIER = slice(0, 8)
_LEAST, _MOST = 200, 512
"""The range of its checksum's offset (postgres/postgres:src/include/catalog/pg_control.h)."""
_NEUTRAL = ("-N", "--no-sync")
"""Arguments of initdb that do not change its result."""


def checksums(arguments: Sequence[str], major: int) -> bool | None:
    """Return whether initdb would enable data checksums; None if a copy cannot have these arguments.

    >>> checksums(["--no-sync"], 17), checksums(["-k"], 17), checksums([], 18)
    (False, True, True)
    >>> checksums(["--auth-local=peer"], 17)
    """
    wanted = major >= 18
    for word in arguments:
        if word in ("-k", "--data-checksums"):
            wanted = True
        elif word == "--no-data-checksums" and major >= 18:
            wanted = False
        elif word not in _NEUTRAL:
            return None
    return wanted


def can_rename(user: str) -> bool:
    """Return whether the superuser can have this name in a copy; unusual names are left to initdb.

    >>> [name for name in ("postgres", "app_1", "pg_app", "public", 'a"b', "App") if can_rename(name)]
    ['postgres', 'app_1']
    """
    usual = re.fullmatch("[a-z_][a-z0-9_]{0,62}", user)
    return bool(usual) and not user.startswith("pg_") and user not in ("none", "public")


def statements(user: str, password: str) -> str:
    r"""Return the statements for a copy's standalone server; empty if none are needed.

    The second one is the same as initdb's own.

    >>> statements("postgres", "")
    ''
    >>> print(statements("app", "it's").replace("\n\n", "\n"), end="")
    UPDATE pg_authid SET rolname = 'app' WHERE oid = 10;
    ALTER USER "app" WITH PASSWORD E'it''s';
    """
    found = ""
    if user != "postgres":
        # The superuser's oid is 10 in each cluster. ALTER ROLE cannot rename the session's own user.
        found += f"UPDATE pg_authid SET rolname = '{user}' WHERE oid = 10;\n\n"  # noqa: S608 - letters only
    if password:
        escaped = password.replace("\\", "\\\\").replace("'", "''")
        found += f"ALTER USER \"{user}\" WITH PASSWORD E'{escaped}';\n\n"
    return found


def identifier(seconds: float, random: int) -> bytes:
    """Return a new system identifier, made like initdb's except for the last 12 bits, which are random.

    initdb uses the process id for them, but in two containers the first process ids are the same.
    """
    whole = int(seconds)
    micros = int((seconds - whole) * 1_000_000)
    return (whole << 32 | micros << 12 | random & 0xFFF).to_bytes(8, "little")


def own_control(control: bytes, nonce_at: int, end: int, identifier: bytes, nonce: bytes) -> bytes:
    """Return a control file, whose checksum is at `end`, with this identifier and nonce.

    Raises ValueError if the file is damaged.
    """
    if not _matches(control, end):
        raise ValueError("the checksum of the control file does not match")
    changed = bytearray(control)
    changed[_IDENTIFIER] = identifier
    changed[nonce_at : nonce_at + NONCE_BYTES] = nonce
    changed[end : end + 4] = crc32c(bytes(changed[:end])).to_bytes(4, "little")
    return bytes(changed)


def crc_at(control: bytes) -> int:
    """Return the offset of a control file's checksum; raises ValueError if no checksum matches."""
    for end in range(_LEAST, min(_MOST, len(control)), 4):
        if _matches(control, end):
            return end
    raise ValueError("no checksum of the control file matches")


def _matches(control: bytes, end: int) -> bool:
    return crc32c(control[:end]) == int.from_bytes(control[end : end + 4], "little")


def crc32c(data: bytes) -> int:
    """Return the checksum that PostgreSQL protects its control file with.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF
