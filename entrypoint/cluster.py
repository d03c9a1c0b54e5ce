"""Pure readers of the files of a data folder."""

import re
from typing import NamedTuple

CLUSTER_ENTRY = re.compile(
    r"PG_VERSION|base|global|pg_.*|postgresql(\.auto)?\.conf(\.tmp)?|postmaster\.(pid|opts)"
    r"|current_logfiles|backup_label(\.old)?|backup_manifest|tablespace_map(\.old)?"
    r"|recovery\.signal|standby\.signal|backup\.manifest(\.copy)?"
)
"""Names that initdb, the server and a restore make in a data folder; everything else is somebody else's."""

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
    if len(lines) < 4 or not re.fullmatch(r"-?\d{1,9}", lines[0]) or not lines[2].isdigit():
        return None
    status = lines[7].strip() if len(lines) > 8 else ""
    return Postmaster(abs(int(lines[0])), lines[1], int(lines[2]), status)


def parse_control(text: str) -> dict[str, str]:
    """Read the output of pg_controldata, run with LC_ALL=C."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
