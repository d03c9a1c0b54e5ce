"""The server's settings for the memory and the processors of a container; pure."""

from __future__ import annotations

from entrypoint.archive import shares
from entrypoint.light import NamedTuple
from entrypoint.shown import BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


KB = 1024
MB = 1024**2
GB = 1024**3
AUTOVACUUM_WORKERS = 3
"""PostgreSQL's default, which is not tuned."""
CONNECTIONS = 100
"""PostgreSQL's default."""
MOST_SHARED_BUFFERS = 16 * GB
MOST_MAINTENANCE = 1 * GB
MOST_WORK_MEM = 256 * MB
MOST_WAL = 16 * GB
DEFAULT_WAL = 1 * GB
MOST_GATHERED = 4


class Machine(NamedTuple):
    """The resources of a container."""

    memory: int
    """Bytes: its limit, or the memory of the machine."""
    limited: bool
    """Whether this is a limit of the container."""
    processors: int
    wal_bytes: int
    """The size of the filesystem that holds pg_wal."""
    archives: bool


class Tuned(NamedTuple):
    """One setting and why it has this value."""

    name: str
    value: str
    reason: str


def server(machine: Machine) -> int:
    """Return the bytes of memory for the server: those that a running archiver leaves.

    >>> server(Machine(1024**3, True, 2, 0, archives=True)) // 1024**2
    640
    """
    if not machine.archives:
        return machine.memory
    taken = shares.backup(1, machine.memory, None).memory_bytes or 0
    # At least half, for tiny containers, where no split is sure to suffice.
    return max(machine.memory // 2, machine.memory - taken - (shares.push(machine.memory).memory_bytes or 0))


def tune(machine: Machine, connections: int = CONNECTIONS) -> list[Tuned]:
    """Return the server's settings for a container, so that all of them together fit into its memory.

    A quarter of the server's share is for shared memory, a quarter for vacuum and index builds (a manual one
    in addition to the autovacuum workers), and half for the sorts and hashes of the sessions. max_connections
    and max_worker_processes stay: a standby, or a restore in a smaller container, must have at least as many
    as the primary, or it stops.
    """
    share = server(machine)
    whole = f"{size(machine.memory)} of the {'container' if machine.limited else 'machine, no limit is set'}"
    if machine.archives:
        whole = f"{size(share)}, which backups and archiving leave of the {whole}"
    buffers = min(MOST_SHARED_BUFFERS, share // 4)
    maintenance = min(MOST_MAINTENANCE, share // 4 // (AUTOVACUUM_WORKERS + 1))
    work = min(MOST_WORK_MEM, share // 2 // connections)
    count = machine.processors
    processors = f"{count} processor{'s' if count > 1 else ''}"
    gathered = min(MOST_GATHERED, count // 2)
    found = [
        Tuned("shared_buffers", size(buffers), f"a quarter of {whole}"),
        Tuned("effective_cache_size", size(share // 4 * 3), f"three quarters of {whole}"),
        Tuned(
            "maintenance_work_mem",
            size(max(MB, maintenance)),
            f"a quarter of {size(share)} for {AUTOVACUUM_WORKERS + 1} vacuums or index builds at once",
        ),
        Tuned("work_mem", size(max(64 * KB, work)), f"half of {size(share)} for {connections} connections"),
        Tuned("max_parallel_workers", str(count), processors),
        Tuned("max_parallel_workers_per_gather", str(gathered), f"half of {processors}"),
        Tuned("max_parallel_maintenance_workers", str(gathered), f"half of {processors}"),
    ]
    wal = min(MOST_WAL, buffers * 4, machine.wal_bytes // 8)
    if wal > DEFAULT_WAL:
        why = f"four times shared_buffers, at most an eighth of the {size(machine.wal_bytes)} for WAL"
        found.append(Tuned("max_wal_size", size(wal // MB * MB), why))
        found.append(Tuned("min_wal_size", size(wal // 4 // MB * MB), "a quarter of max_wal_size"))
    return found


def size(count: int) -> str:
    """Return bytes in the largest of PostgreSQL's units that is exact to the kB, rounded down.

    >>> size(3 * 1024**3), size(1536 * 1024**2), size(1000)
    ('3GB', '1536MB', '0kB')
    """
    unit = next((each for each in ("GB", "MB") if count >= BYTES[each] and not count % BYTES[each]), "kB")
    if unit == "kB" and count >= 10 * MB:
        unit = "MB"
    return f"{count // BYTES[unit]}{unit}"


def size_bytes(text: str, unit: str) -> int | None:
    """Return the bytes of a value of a setting with the base unit `unit`; None if the value is not a size.

    >>> size_bytes("64MB", "kB"), size_bytes("4096", "kB"), size_bytes("4 apples", "kB")
    (67108864, 4194304, None)
    """
    number = text.strip().rstrip("BkMGT ")
    given = text.strip()[len(number) :].strip()
    try:
        return int(float(number) * (BYTES[given] if given else 8 * KB if unit == "8kB" else BYTES[unit]))
    except (ValueError, KeyError, OverflowError):
        return None


SHARED_MEMORY_DEFAULTS = {
    "work_mem": "4MB",
    "hash_mem_multiplier": "2",
    "max_parallel_workers": "8",
    "max_parallel_workers_per_gather": "2",
    "maintenance_work_mem": "64MB",
}


def shared_memory(wanted: Mapping[str, str]) -> int:
    """Return the bytes of dynamic shared memory that these settings can request at the same time.

    A parallel hash join keeps one table for all its processes, with work_mem times hash_mem_multiplier for
    each process; the number of parallel workers limits how many joins run at once. A parallel VACUUM keeps up
    to maintenance_work_mem there.

    >>> shared_memory({}) // 1024**2
    160
    >>> shared_memory({"max_parallel_workers_per_gather": "0"}) // 1024**2
    64
    """
    given = {**SHARED_MEMORY_DEFAULTS, **wanted}
    vacuum = size_bytes(given["maintenance_work_mem"], "kB") or 0
    try:
        workers = int(given["max_parallel_workers"])
        gathered = min(workers, int(given["max_parallel_workers_per_gather"]))
        each = (size_bytes(given["work_mem"], "kB") or 0) * float(given["hash_mem_multiplier"])
    except ValueError:
        return vacuum  # the server will report the error
    if gathered <= 0:
        return vacuum
    leaders = -(-workers // gathered)
    return vacuum + int(each * (workers + leaders))
