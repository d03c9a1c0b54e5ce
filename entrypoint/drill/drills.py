"""The records of drills, and the scratch server's configuration; pure."""

from __future__ import annotations

from entrypoint.backup import journal
from entrypoint.backup.journal import INTERRUPTED, OK, RUNNING, STOPPED
from entrypoint.light import NamedTuple, re
from entrypoint.server import private_server
from entrypoint.shown import spell
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from entrypoint.backup.journal import Outcome, Why


class Drill(NamedTuple):
    """One restore of the newest backup, made only to see whether it works."""

    started: str
    """ISO 8601 with offset."""
    why: Why
    outcome: Outcome = RUNNING
    """As for a backup run."""
    backup: str = ""
    """Name of the base backup."""
    bytes: int = 0
    """Size of the restored cluster after the replay."""
    segments: int = 0
    """The most WAL segments to replay."""
    last_transaction: str | None = None
    """When the last replayed transaction was committed; None if there was none after the backup."""
    fetch_seconds: float = 0
    replay_seconds: float = 0
    check_seconds: float = 0
    seconds: float = 0
    """In total."""
    checks: tuple[str, ...] = ()
    """The checks that passed: `pg_amcheck`, and the names of the user's SQL files."""
    words: str = ""
    """Why the drill failed."""
    url: str = ""
    """Address of the archive."""


class LastDrills(NamedTuple):
    """The drills that status and doctor report."""

    success: Drill | None
    failure: Drill | None
    """The last drill that failed or was interrupted, if none has succeeded since."""
    running: Drill | None


def parse(text: str) -> list[Drill]:
    """Parse the file of all drills."""
    return journal.parse(text, _drill)


def _drill(row: Mapping[str, Any]) -> Drill:
    made = Drill(**{name: row[name] for name in Drill._fields if name in row})
    drill: Drill = guest.typed(made._replace(checks=tuple(str(each) for each in made.checks)))
    return drill


def write(drills: Sequence[Drill]) -> str:
    """Return the text of the file: the last drills, and the last good one if it is older."""
    return journal.write(drills, (lambda drill: drill.outcome == OK,))


def last(drills: Sequence[Drill]) -> LastDrills:
    """Return the drills that matter now."""
    return LastDrills(*journal.last(drills))


def interrupted_in_a_row(drills: Sequence[Drill]) -> int:
    """Return how many of the last drills were killed or stopped, and so have proved nothing."""
    count = 0
    for each in reversed(drills):
        if each.outcome not in (INTERRUPTED, STOPPED):
            break
        count += 1
    return count


def describe(drill: Drill) -> str:
    """Return the figures of a drill, for people."""
    size = spell(drill.bytes)
    if drill.outcome != OK:
        return f"{drill.outcome}: {drill.words}"
    at = f", last transaction {drill.last_transaction}" if drill.last_transaction else ""
    files = len(drill.checks) - 1
    return (
        f"{drill.backup}, {size}, restored in {drill.fetch_seconds + drill.replay_seconds:.1f} s (fetch "
        f"{drill.fetch_seconds:.1f}, replay {drill.replay_seconds:.1f}){at}; pg_amcheck and {files} SQL "
        f"file{'' if files == 1 else 's'} found nothing wrong in {drill.check_seconds:.1f} s"
    )


def last_transaction(log: str) -> str | None:
    """Return the time of the last replayed transaction, according to the server's log.

    >>> last_transaction("LOG:  last completed transaction was at log time 2026-11-23 01:02:03.5+00")
    '2026-11-23T01:02:03.500000+00:00'
    """
    found = re.findall(r"last completed transaction was at log time (\S+ \S+)", log)
    if not found:
        return None
    from datetime import datetime

    return datetime.fromisoformat(found[-1]).isoformat()


_MODEST = {
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers": "0",
    "huge_pages": "off",
    "jit": "off",
    "autovacuum": "off",
    # The cluster is thrown away, so nothing has to reach the disk.
    "fsync": "off",
    # /dev/shm is small and belongs to the real server, and a killed scratch server would leave files there.
    "dynamic_shared_memory_type": "mmap",
}
_CLOSED = {
    "port": "5432",
    "archive_mode": "off",
    "max_worker_processes": "0",
    "max_wal_senders": "0",
    "hot_standby": "off",
}
_LOG = {
    "log_line_prefix": "",
    "lc_messages": "C",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "ISO",
}
_LEAST_PREPARED = 64
"""The setting may have grown after the backup; without room for a prepared transaction, the replay fails."""


def server_settings(
    control: Mapping[str, str], folder: str, restore_command: str, timeline: int
) -> dict[str, str]:
    """Return all settings of the scratch server; it reads none of the original's.

    The original's settings may name commands, libraries with background workers, and files of the real
    server. `control` is the output of pg_controldata for the backup; `folder` is the folder of the socket.
    """
    prepared = int(control.get("max_prepared_xacts setting", 0))
    return {
        **_MODEST,
        **private_server.out_of_reach(folder),
        **_CLOSED,
        **_LOG,
        "max_prepared_transactions": str(max(prepared, _LEAST_PREPARED)),
        "max_locks_per_transaction": control.get("max_locks_per_xact setting", "64"),
        "restore_command": restore_command,
        "recovery_target_timeline": str(timeline),
        "recovery_target_action": "promote",
    }
