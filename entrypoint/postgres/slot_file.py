"""What a replication slot holds, from its file `pg_replslot/NAME/state`; pure."""

from __future__ import annotations

_MAGIC = 0x1051CA1
_LSN = 96
"""The place of restart_lsn in PostgreSQL 9.6 and later.

It is after the head of 16 bytes, the name of 64, and four fields of 4: the database, the persistency, xmin
and catalog_xmin.
"""


def restart_lsn(data: bytes) -> int | None:
    """Return the first LSN that a slot keeps; None if it keeps none, or if the file is no slot's.

    The server writes the file at checkpoints, so it keeps at least as much as it needs.
    """
    if len(data) < _LSN + 8:
        return None
    if int.from_bytes(data[:4], "little") == _MAGIC:
        return int.from_bytes(data[_LSN : _LSN + 8], "little") or None
    if int.from_bytes(data[:4], "big") == _MAGIC:
        return int.from_bytes(data[_LSN : _LSN + 8], "big") or None
    return None
