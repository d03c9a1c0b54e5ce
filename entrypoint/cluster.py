"""Pure readers of the files of a data folder."""

import re
from typing import NamedTuple

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


class Postmaster(NamedTuple):
    """What postmaster.pid says."""

    pid: int
    data_folder: str
    started: int
    """Seconds since 1970."""
    status: str
    """`starting`, `stopping`, `ready`, `standby`, or empty."""


def parse_postmaster(text: str) -> Postmaster | None:
    r"""Read postmaster.pid; None while it is being written.

    >>> parse_postmaster("42\n/data\n1795364442\n5432\n/run\n*\n 1 2\nready   \n")
    Postmaster(pid=42, data_folder='/data', started=1795364442, status='ready')
    """
    lines = text.split("\n")
    if len(lines) < 4 or not re.fullmatch(
        r"-?[0-9]{1,9} [0-9]{1,18} [0-9]{1,9}", f"{lines[0]} {lines[2]} {lines[3]}"
    ):
        return None
    status = lines[7].strip() if len(lines) > 8 else ""
    return Postmaster(abs(int(lines[0])), lines[1], int(lines[2]), status)


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
