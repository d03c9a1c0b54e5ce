"""Parsers for the files of a data folder; pure."""

from __future__ import annotations

from entrypoint.light import re

HOME = "/var/lib/postgresql"
"""The home of the server's user in the official image, and the place of its data."""
SERVER_ENTRIES = frozenset(
    """
    PG_VERSION base global pg_commit_ts pg_dynshmem pg_hba.conf pg_ident.conf pg_logical pg_multixact
    pg_notify pg_replslot pg_serial pg_snapshots pg_stat pg_stat_tmp pg_subtrans pg_tblspc pg_twophase
    pg_wal pg_xact postgresql.conf postgresql.auto.conf postgresql.auto.conf.tmp postmaster.pid
    postmaster.opts current_logfiles current_logfiles.tmp log backup_label backup_label.old
    tablespace_map tablespace_map.old recovery.signal standby.signal
    """.split()
)
"""Names that initdb and the server create in a data folder."""

WAL_ENTRY = re.compile(
    r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history"
    r"|xlogtemp\.\d+|archive_status|summaries|RECOVERYXLOG|RECOVERYHISTORY"
)
"""Names that initdb and the server create in pg_wal."""


CONTROL_BYTES = 156
"""The number of bytes that `is_in_recovery` reads from pg_control."""

_REACHED = {1300: 136, 1700: 136, 1800: 136, 1905: 144}
"""Where the minimum recovery point is, by the version of pg_control; these are PostgreSQL 13 to 19.

Its timeline follows it. The checkpoint before it is longer in 19.
"""


def is_in_recovery(control: bytes) -> bool:
    """Return whether a cluster was in archive recovery and is not yet a primary, by its file pg_control.

    The field `state` has the same offset in all versions; 2 is a shutdown in recovery, 5 is the recovery
    itself (postgres/postgres:src/include/catalog/pg_control.h). State 3, shutting down, belongs to the
    checkpoint that ends a recovery and also to the checkpoint of a stop. Before the end of a recovery, the
    minimum recovery point is on the checkpoint's own timeline; afterwards there is none, or it is on the new
    timeline.
    """
    if len(control) < CONTROL_BYTES:
        return False

    def number(start: int, size: int) -> int:
        return int.from_bytes(control[start : start + size], "little")

    state, found = number(16, 4), minimum_recovery(control)
    if state != 3 or found is None:
        return state in (2, 5)
    reached, reached_timeline = found
    return reached != 0 and reached_timeline == number(48, 4)


def minimum_recovery(control: bytes) -> tuple[int, int] | None:
    """Return the minimum recovery point and its timeline in pg_control; None if its version is unknown."""
    start = _REACHED.get(int.from_bytes(control[8:12], "little"))
    if start is None:
        return None
    return (
        int.from_bytes(control[start : start + 8], "little"),
        int.from_bytes(control[start + 8 : start + 12], "little"),
    )


def parse_control(text: str) -> dict[str, str]:
    """Parse the output of pg_controldata, run with LC_ALL=C."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
