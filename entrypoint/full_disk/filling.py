"""What fills a filesystem of the server, by name and bytes; it changes nothing, and needs no server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from entrypoint import own
from entrypoint.archive import backlog
from entrypoint.errors import Failure
from entrypoint.full_disk import counting, parts
from entrypoint.full_disk.counting import Counter, Size
from entrypoint.full_disk.parts import Part, Slot
from entrypoint.light import NamedTuple, re
from entrypoint.postgres import segments, slot_file
from entrypoint.server import sessions
from entrypoint.server.data_folder import live_postmaster
from entrypoint.shown import inline
from entrypoint.system import small
from entrypoint.volume import installing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from entrypoint.server.context import Context

SECONDS = 1.0
"""For counting, by default."""
_ANSWER = 2.0
"""Seconds for the server's answer."""
_TEMPORARY = "pgsql_tmp"
_PID = re.compile(r"pgsql_tmp([0-9]{1,9})\.")
_BIG = 64 * 1024**2
"""Bytes of temporary files from which on a process is named."""
_CORE = re.compile(r"core(\.[0-9]+)?|core-.*")
_LOG = "log"
"""The default of log_directory."""
_DAMAGED = 64
"""Names longer than those of slots and folders of PostgreSQL are not looked at."""

_QUESTION = """
    SELECT json_build_object(
        'databases', (SELECT coalesce(json_object_agg(oid, datname), '{}') FROM pg_database),
        'tablespaces', (SELECT coalesce(json_object_agg(oid, spcname), '{}') FROM pg_tablespace),
        'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'active', active,
                      'lsn', pg_wal_lsn_diff(restart_lsn, '0/0'))), '[]')
                  FROM pg_replication_slots WHERE restart_lsn IS NOT NULL),
        'end', pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
                   THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                   ELSE pg_current_wal_insert_lsn() END, '0/0'))"""


class _Known(NamedTuple):
    """What the server said, or its files."""

    slots: tuple[Slot, ...] = ()
    databases: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Names by OID."""
    tablespaces: dict[str, str] = {}  # noqa: RUF012 - never changed
    end: int | None = None
    """The present end of WAL; None: not known."""


def look(context: Context, folder: str = "", *, seconds: float = SECONDS) -> tuple[Part, ...]:
    """Return what takes space on the filesystem of a folder, by default that of the WAL, the largest first.

    A part of the WAL is there twice if the archive waits for it and a slot holds it. Counting takes at most
    `seconds`; whatever cannot be read or counted is in the part for other things.
    """
    data = context.settings.data_folder
    place = folder or f"{data}/pg_wal"
    try:
        device, room = os.stat(place).st_dev, os.statvfs(place)
    except OSError:
        return ()
    known = _ask(context) or _Known(tuple(slots_in_files(data)))
    found, total = _Looker(context, known, device, Counter(seconds)).look()
    used = (room.f_blocks - room.f_bfree) * room.f_frsize - total.bytes
    inodes = room.f_files - room.f_ffree - total.files if room.f_files else 0
    rest = parts.other(max(used, 0), max(inodes, 0), counted=total.counted)
    return parts.ordered([*found, rest])


def words(found: tuple[Part, ...], *, inodes: bool = False) -> str:
    """Return what fills a disk, in one to three lines."""
    return parts.words(found, inodes=inodes)


def _ask(context: Context) -> _Known | None:
    """Return what the server says; None: it does not answer."""
    server = live_postmaster(context.settings.data_folder)
    if server is None or server.status != "ready":
        return None
    try:
        said = sessions.query_json(context, _QUESTION, dict, seconds=_ANSWER)
    except Failure:
        return None
    still = {each.name: each.still_since for each in slots_in_files(context.settings.data_folder)}
    rows: list[dict[str, Any]] = said["slots"]
    slots = (
        Slot(each["name"], int(each["lsn"]), bool(each["active"]), still.get(each["name"])) for each in rows
    )
    end = said["end"]
    return _Known(tuple(slots), said["databases"], said["tablespaces"], None if end is None else int(end))


def slots_in_files(data: str) -> Iterator[Slot]:
    """Yield the replication slots that keep WAL, as their files have them."""
    for name in _names(f"{data}/pg_replslot"):
        path = f"{data}/pg_replslot/{name}/state"
        try:
            lsn = slot_file.restart_lsn(small.read(path, most=4096))
            if lsn is not None:
                yield Slot(name, lsn, still_since=os.stat(path, follow_symlinks=False).st_mtime)
        except OSError:
            continue


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if len(name) <= _DAMAGED)
    except OSError:
        return []


def log_folder(data: str) -> str:
    """Return the folder of the server's log: where the running server writes files, or the default."""
    try:
        text = small.read_text(f"{data}/current_logfiles")
    except OSError:
        return f"{data}/{_LOG}"
    path = os.path.normpath(os.path.join(data, text.split("\n")[0].partition(" ")[2]))
    # With a log in JSON, the server writes to our pipes, which take no space.
    return os.path.dirname(path) if os.path.isfile(path) else f"{data}/{_LOG}"


def tablespaces(data: str) -> dict[str, str]:
    """Return the real folders of the tablespaces by their OIDs."""
    return {oid: os.path.realpath(f"{data}/pg_tblspc/{oid}") for oid in _names(f"{data}/pg_tblspc")}


def temporary_folders(data: str) -> Iterator[str]:
    """Return the folders of temporary files: that of the cluster, and those in each tablespace."""
    yield f"{data}/base/{_TEMPORARY}"
    for folder in tablespaces(data).values():
        yield from (f"{folder}/{version}/{_TEMPORARY}" for version in _versions(folder))


def temporary_files(folder: str) -> Iterator[tuple[str, str]]:
    """Return the paths in a folder of temporary files, each with the pid in its name, or an empty text."""
    for name in _names(folder):
        match = _PID.match(name)
        yield match[1] if match else "", f"{folder}/{name}"


class _Looker:
    """Counts everything that is the server's or ours on one filesystem."""

    def __init__(self, context: Context, known: _Known, device: int, counter: Counter) -> None:
        self._context = context
        self._data = context.settings.data_folder
        self._known = known
        self._device = device
        self._counter = counter
        self._total = Size()

    def look(self) -> tuple[list[Part], Size]:
        """Return the parts, and the size of all of them together."""
        # The quick and suspect ones first: counting may run out of time.
        found = [*self._wal(), *self._temporary(), *self._in_data()]
        found += [*self._databases(), *self._tablespaces(), *self._ours()]
        return found, self._total

    def _is_here(self, path: str) -> bool:
        try:
            return os.stat(path).st_dev == self._device
        except OSError:
            return False

    def _count(self, path: str, *, skip: Iterable[str] = (), deep: bool = True) -> Size:
        size = self._counter.count(path, skip=frozenset(skip), deep=deep)
        self._total = self._total.plus(size)
        return size

    def _wal(self) -> Iterator[Part]:
        folder = f"{self._data}/pg_wal"
        if not self._is_here(folder):
            return
        reserve = self._count(f"{folder}/{own.RESERVE}")
        yield parts.folder("reserve", f"{folder}/{own.RESERVE}", reserve.bytes, reserve.files)
        self._count(folder, skip=(own.RESERVE,))
        ready = set(backlog.waiting(self._data))
        sizes = {
            name: counting.of_file(f"{folder}/{name}")
            for name in os.listdir(folder)
            if segments.NAME.fullmatch(name) or name in ready
        }
        waiting = _sum(size for name, size in sizes.items() if name in ready)
        if waiting.files:
            yield parts.unarchived(waiting.bytes, waiting.files, self._reason())
        numbered = {name: size for name, size in sizes.items() if segments.NAME.fullmatch(name)}
        held = set(ready)
        for slot in self._known.slots:
            names = _held(numbered, slot.lsn, self._known.end, installing.segment_bytes(self._data))
            size = _sum(numbered[name] for name in names)
            held |= names
            yield parts.slot(slot, size.bytes, size.files)
        rest = _sum(size for name, size in numbered.items() if name not in held)
        yield parts.kept(rest.bytes, rest.files)

    def _reason(self) -> str | None:
        """Return why archiving fails; None: it does not, as far as we know."""
        archive = self._context.settings.our_archive
        if archive is None:
            return "your own archive_command or archive_library, see the server's log"
        state = backlog.look(archive, self._data, self._context.runtime_folder)
        if state.fork_refused is not None:
            return inline(state.fork_refused)
        return None if state.failing_since is None else inline(state.last_error or "see the log")

    def _temporary(self) -> Iterator[Part]:
        """Return the temporary files: of each process that has many, and of all others together."""
        by_pid: dict[str, Size] = {}
        for folder in filter(self._is_here, temporary_folders(self._data)):
            for pid, path in temporary_files(folder):
                size = counting.of_temporary(path, self._counter)
                by_pid[pid] = by_pid.get(pid, Size()).plus(size)
        self._total = self._total.plus(_sum(by_pid.values()))
        small_ones = [pid for pid, size in by_pid.items() if not pid or size.bytes < _BIG]
        rest = _sum(by_pid.pop(pid) for pid in small_ones)
        yield parts.temporary("", rest.bytes, rest.files)
        for pid, size in by_pid.items():
            yield parts.temporary(pid, size.bytes, size.files)

    def _in_data(self) -> Iterator[Part]:
        """Return the log, core dumps, and everything in the data folder that has no part of its own."""
        log = log_folder(self._data)
        if self._is_here(log) and log != self._data:
            size = self._count(log)
            yield parts.folder("log", log, size.bytes, size.files, counted=size.counted)
        if not self._is_here(self._data):
            return
        cores = [name for name in os.listdir(self._data) if _CORE.fullmatch(name)]
        size = _sum(counting.of_file(f"{self._data}/{name}") for name in cores)
        self._total = self._total.plus(size)
        yield parts.folder("core", self._data, size.bytes, size.files)
        inside = os.path.relpath(log, self._data).partition("/")[0]
        rest = self._count(self._data, skip=("base", "pg_wal", "pg_tblspc", inside, *cores))
        yield parts.folder("data", self._data, rest.bytes, rest.files, counted=rest.counted)

    def _databases(self) -> Iterator[Part]:
        base = f"{self._data}/base"
        if self._is_here(base):
            for oid in _names(base):
                if oid.isdecimal():
                    size = self._count(f"{base}/{oid}")
                    name = self._known.databases.get(oid, f"with OID {oid}")
                    yield parts.database(name, size.bytes, size.files, counted=size.counted)

    def _tablespaces(self) -> Iterator[Part]:
        for oid, folder in tablespaces(self._data).items():
            if not self._is_here(folder):
                continue
            size = Size()
            for version in _versions(folder):
                size = size.plus(self._count(f"{folder}/{version}", skip=(_TEMPORARY,)))
            name = self._known.tablespaces.get(oid, f"with OID {oid}")
            yield parts.tablespace(name, folder, size.bytes, size.files, counted=size.counted)

    def _ours(self) -> Iterator[Part]:
        """Return the folders of drills and of the archive, unless they are in the data folder."""
        settings = self._context.settings
        archive = settings.our_archive
        drill = f"{settings.drill.folder}/{own.DRILL_SCRATCH}"
        if self._is_here(drill):
            size = self._count(drill)
            yield parts.folder("drill", drill, size.bytes, size.files, counted=size.counted)
        folder = archive.storage.folder if archive is not None else None
        if folder is not None and self._is_here(folder):
            size = self._count(folder)
            yield parts.folder("archive", folder, size.bytes, size.files, counted=size.counted)


def _versions(folder: str) -> list[str]:
    """Return the folders of PostgreSQL's majors in a tablespace."""
    return [name for name in _names(folder) if name.startswith("PG_")]


def _sum(sizes: Iterable[Size]) -> Size:
    total = Size()
    for size in sizes:
        total = total.plus(size)
    return total


def _held(names: Iterable[str], lsn: int, end: int | None, size: int) -> set[str]:
    """Return the segments from an LSN to the end of WAL; later ones are only there to be used again."""
    first = lsn // size
    last = None if end is None else end // size
    numbers = {name: segments.number(name, size) for name in names}
    return {name for name, number in numbers.items() if number >= first and (last is None or number <= last)}
