"""Decides when a first start may copy the image's cluster, and what must differ in the copy; pure.

Two clusters that initdb makes with the same arguments, programs and locale differ in two numbers: the
system identifier, in the control file and in the first page of a WAL segment, and the nonce with which the
server answers logins of unknown users (postgres/postgres:src/backend/access/transam/xlog.c). They also differ
in times, in the control file and in the WAL. The image's cluster has neither, so that an image that is built
twice is the same. Its only WAL is the checkpoint that pg_resetwal writes at the begin of a segment. Whoever
reads WAL by segments begins there, such as pg_waldump and, from PostgreSQL 17 on, the WAL summarizer: if it
finds no record there, it fails again and again, and the server keeps all WAL for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint.light import re

SEGMENT_BYTES = 16 * 1024**2
"""The size of a segment unless initdb has another size in its arguments."""
IDENTIFIER_IN_WAL = slice(24, 32)
"""The system identifier in the first page of a segment (XLogLongPageHeaderData)."""
NONCE_BYTES = 32

_PAGE = 8192
_HEADER = 40
"""The length of the header of a segment's first page (access/xlog_internal.h)."""
_RECORD_CRC = slice(20, 24)
"""The checksum in the header of a WAL record (XLogRecord)."""
_IDENTIFIER = slice(0, 8)
_TIME = slice(24, 32)
"""The time of the last change in seconds; a server says that it was shut down then."""
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
    """Return a control file, whose checksum is at `end`, with this identifier, its time, and this nonce.

    Raises ValueError if the file is damaged.
    """
    if not _matches(control, end):
        raise ValueError("the checksum of the control file does not match")
    changed = bytearray(control)
    changed[_IDENTIFIER] = identifier
    changed[_TIME] = (int.from_bytes(identifier, "little") >> 32).to_bytes(8, "little")
    changed[nonce_at : nonce_at + NONCE_BYTES] = nonce
    changed[end : end + 4] = crc32c(bytes(changed[:end])).to_bytes(4, "little")
    return bytes(changed)


def without_origin(control: bytes, nonce_at: int, end: int, begun: int, ended: int) -> bytes:
    """Return a control file without identifier, nonce, and the times in seconds at which initdb ran.

    Raises ValueError if the file is damaged.
    """
    for seconds in range(begun, ended + 1):
        control = control.replace(seconds.to_bytes(8, "little"), bytes(8))
    control = control[:end] + crc32c(control[:end]).to_bytes(4, "little") + control[end + 4 :]
    return own_control(control, nonce_at, end, bytes(8), bytes(NONCE_BYTES))


def only_checkpoint(segment: bytes, begun: int, ended: int) -> bytes:
    """Return what pg_resetwal wrote to a segment, without identifier and times; zeros follow it.

    Raises ValueError if it is anything else than the first page's header and a checkpoint.
    """
    end = _HEADER + int.from_bytes(segment[_HEADER : _HEADER + 4], "little")
    record = segment[_HEADER : min(end, _PAGE)]
    if not _is_record(record) or segment[end:].strip(b"\0"):
        raise ValueError("no checkpoint in the WAL segment, or not only that")
    for seconds in range(begun, ended + 1):
        record = record.replace(seconds.to_bytes(8, "little"), bytes(8))
    head = record[: _RECORD_CRC.start] + _record_crc(record)
    own = segment[: IDENTIFIER_IN_WAL.start] + bytes(8) + segment[IDENTIFIER_IN_WAL.stop : _HEADER]
    return own + head + record[_RECORD_CRC.stop :]


def _is_record(record: bytes) -> bool:
    return len(record) > _RECORD_CRC.stop and record[_RECORD_CRC] == _record_crc(record)


def _record_crc(record: bytes) -> bytes:
    return crc32c(record[_RECORD_CRC.stop :] + record[: _RECORD_CRC.start]).to_bytes(4, "little")


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
