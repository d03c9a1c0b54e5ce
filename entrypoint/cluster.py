"""Pure readers of the files of a data folder."""

from __future__ import annotations

from entrypoint.light import re

SERVER_ENTRIES = frozenset(
    """
    PG_VERSION base global pg_commit_ts pg_dynshmem pg_hba.conf pg_ident.conf pg_logical pg_multixact
    pg_notify pg_replslot pg_serial pg_snapshots pg_stat pg_stat_tmp pg_subtrans pg_tblspc pg_twophase
    pg_wal pg_xact postgresql.conf postgresql.auto.conf postgresql.auto.conf.tmp postmaster.pid
    postmaster.opts current_logfiles current_logfiles.tmp log backup_label backup_label.old
    tablespace_map tablespace_map.old recovery.signal standby.signal
    """.split()
)
"""Names that initdb and the server make in a data folder."""

WAL_ENTRY = re.compile(
    r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history"
    r"|xlogtemp\.\d+|archive_status|summaries|RECOVERYXLOG|RECOVERYHISTORY"
)
"""Names that initdb and the server make in pg_wal."""


def is_in_recovery(control: bytes) -> bool:
    """Tell from the file pg_control whether the cluster was in archive recovery, and is no primary yet.

    Its field `state` lies at the same place in all versions; 2 is a shutdown in recovery, 5 the recovery
    itself (postgres/postgres:src/include/catalog/pg_control.h).
    """
    return len(control) >= 20 and int.from_bytes(control[16:20], "little") in (2, 5)


def parse_control(text: str) -> dict[str, str]:
    """Read the output of pg_controldata, run with LC_ALL=C."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
