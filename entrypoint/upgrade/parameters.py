"""What the new cluster must have from the old one: arguments of initdb, settings of both servers; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    Transfer = Literal["clone", "copy", "link", "swap"]

STANDBYS = (
    "upgrade the primary; once it has taken its first full backup, start this standby on an empty volume "
    "with the new image: it builds itself again. Keep the old volume until then"
)
"""What to do with a standby when its primary is upgraded."""
RESERVE = 512 * 1024**2
"""Bytes that stay free: for WAL, and for the catalogs of the new cluster."""
SHARING = ("link", "swap")
"""The modes in which both clusters have the same files, so that only one of them may ever run."""
SWAPS = 18
"""The first major version whose pg_upgrade can swap folders."""
CHECKSUMS_BY_DEFAULT = 18
"""The first major version whose initdb turns data checksums on."""


class Old(NamedTuple):
    """What a new cluster takes over from the old one."""

    major: int
    identifier: str
    checksums: bool
    segment_megabytes: int
    superuser: str
    """The name of the role that initdb has made, which has the oid 10."""
    group: bool = False
    """Whether the group may read it."""


def old(major: int, control: Mapping[str, str], superuser: str, *, group: bool = False) -> Old:
    """Return what pg_controldata says of the old cluster."""
    return Old(
        major,
        control["Database system identifier"],
        control.get("Data page checksum version", "0") != "0",
        int(control["Bytes per WAL segment"]) // 1024**2,
        superuser,
        group,
    )


def initdb_arguments(found: Old, new_major: int, wal_folder: str | None) -> list[str]:
    """Return the arguments of initdb for the new cluster.

    pg_upgrade itself takes over encodings and locales: those of template0, and those of the databases.

    >>> initdb_arguments(Old(15, "7", False, 16, "app"), 18, None)[-2:]
    ['--wal-segsize=16', '--no-data-checksums']
    """
    words = [
        f"--username={found.superuser}",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=trust",
        "--no-sync",
        "--no-instructions",
        f"--wal-segsize={found.segment_megabytes}",
    ]
    if found.checksums:
        words.append("--data-checksums")
    elif new_major >= CHECKSUMS_BY_DEFAULT:
        words.append("--no-data-checksums")
    if found.group:
        words.append("--allow-group-access")
    return words + ([f"--waldir={wal_folder}"] if wal_folder else [])


class Asked(NamedTuple):
    """What else both servers need to know of the old cluster."""

    slots: int
    """Its replication slots and origins, or what max_replication_slots allows, whichever is more."""
    libraries: str = ""
    """Its shared_preload_libraries."""
    of_sessions: str = ""
    """Its session_preload_libraries, without which the new server lets nobody in."""
    locks: int = 0
    """The tables that pg_dump locks, of all databases."""


_WRITTEN = {
    "max_connections": "max_connections",
    "max_worker_processes": "max_worker_processes",
    "max_wal_senders": "max_wal_senders",
    "max_prepared_transactions": "max_prepared_xacts",
    "max_locks_per_transaction": "max_locks_per_xact",
    "wal_level": "wal_level",
    "wal_log_hints": "wal_log_hints",
    "track_commit_timestamp": "track_commit_timestamp",
}
"""Settings by their names in the control file: a server that has another value writes so to its WAL."""
_ALL_WAL = "2147483647"
"""The largest wal_keep_size."""


def of_old(control: Mapping[str, str], asked: Asked) -> dict[str, str]:
    """Return the settings of the old server while we or pg_upgrade run it: the cluster keeps what it has.

    A value other than that in the control file would go to its WAL, where it can stop its standbys, and
    without track_commit_timestamp the server removes all commit timestamps. No WAL is archived, and none is
    removed: the old image archives later what is written now, and its standbys still find what they need.
    """
    exact = {
        name: control[f"{noted} setting"] for name, noted in _WRITTEN.items() if f"{noted} setting" in control
    }
    return {
        **_closed(asked),
        "superuser_reserved_connections": "0",
        "wal_keep_size": _ALL_WAL,
        **exact,
    }


def of_new(control: Mapping[str, str], asked: Asked, major: int) -> dict[str, str]:
    """Return the settings of the new server while pg_upgrade runs it."""

    def at_least(name: str, least: int) -> str:
        return str(max(least, int(control.get(f"{name} setting", "0"))))

    found = {
        **_closed(asked),
        "wal_level": "logical" if control.get("wal_level setting") == "logical" else "replica",
        "max_prepared_transactions": at_least("max_prepared_xacts", 0),
        "max_locks_per_transaction": at_least("max_locks_per_xact", _LOCKS),
    }
    if major >= _ORIGINS:
        found["max_active_replication_origins"] = str(asked.slots)
    return found


_LOCKS = 256
"""max_locks_per_transaction of the new server."""
_ORIGINS = 18
"""The first major version in which the slots do not limit the origins."""


def _closed(asked: Asked) -> dict[str, str]:
    found = {
        "listen_addresses": "",
        "archive_mode": "off",
        "max_replication_slots": str(asked.slots),
        "max_logical_replication_workers": "0",
        "log_destination": "stderr",
    }
    return {**found, **({"shared_preload_libraries": asked.libraries} if asked.libraries else {})}


def for_dump(control: Mapping[str, str], asked: Asked) -> dict[str, str]:
    """Return the setting that the old server needs for locks on all tables; empty: it has enough of them.

    >>> known = {"max_locks_per_xact setting": "64", "max_connections setting": "100"}
    >>> for_dump(known, Asked(0, locks=10_000))
    {'max_locks_per_transaction': '150'}
    >>> for_dump(known, Asked(0, locks=4000))
    {}
    """
    clients = int(control.get("max_connections setting", "100"))
    needed = asked.locks * 3 // (2 * clients)
    enough = needed <= int(control.get("max_locks_per_xact setting", "64"))
    return {} if enough else {"max_locks_per_transaction": str(needed)}


class Room(NamedTuple):
    """What the choice of a mode depends on."""

    clones: bool
    """The filesystem can share blocks between files."""
    needed: int
    """Bytes that a copy takes."""
    free: int
    swaps: str = ""
    """Why folders cannot be swapped; empty: they can."""
    least: int = 0
    """Bytes that every mode takes in the data folder: new catalogs, their WAL, and copies of users' files."""
    here: int = 0
    """Bytes that are free there."""
    total: int = 0
    """Bytes of all databases, wherever they are."""


CATALOGS = 8 * 1024**2
"""Bytes of the catalogs of a database."""
WAL = 64 * 1024**2
"""Bytes of WAL while a small cluster is made."""


def mode(asked: str, room: Room) -> tuple[Transfer | None, str]:
    """Return how to transfer the files, and why not otherwise; None: not as it is asked for.

    >>> mode("auto", Room(False, 10 * 2**30, 2**30))[1]
    'a copy takes 10.0 GB and leaves 0.5 GB, but 1.0 GB are free; the filesystem cannot clone files'
    """
    short = room.needed + RESERVE > room.free
    lack = (
        f"a copy takes {_gigabytes(room.needed)} and leaves {_gigabytes(RESERVE)}, but "
        f"{_gigabytes(room.free)} "
        "are free"
    )
    unable = "the filesystem cannot clone files"
    none = room.least > room.here
    catalogs = (
        f"the new cluster's own files take {_megabytes(room.least)}, but {_megabytes(room.here)} are free"
    )
    if asked == "link":
        return (None, catalogs) if none else ("link", "")
    if asked == "swap":
        why = room.swaps or (catalogs if none else "")
        return (None, why) if why else ("swap", "")
    if asked == "clone" or (asked == "auto" and room.clones):
        why = (catalogs if none else "") if room.clones else unable
        return (None, why) if why else ("clone", "")
    if short:
        return None, lack if asked == "copy" else f"{lack}; {unable}"
    return "copy", ""


_FIXED = 5.0
"""Seconds of an upgrade of an empty cluster."""
_EACH_DATABASE = 1.0
_EACH_TABLE = 0.004


def seconds(chosen: Transfer, room: Room, databases: int, tables: int, rate: float) -> float:
    """Return about how long an upgrade takes; `rate` is how many bytes are copied in a second.

    >>> room = Room(False, 0, 0, total=10 * 10**9)
    >>> seconds("link", room, 3, 10_000, 1e8), seconds("copy", room, 3, 10_000, 1e8)
    (48.0, 148.0)
    """
    copied = room.total / rate if chosen == "copy" else 0.0
    return _FIXED + databases * _EACH_DATABASE + tables * _EACH_TABLE + copied


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.0f} MB"


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB"
