"""Gaps that ARCHIVE_WHEN_FULL=drop makes: WAL is given up, and everybody who relies on the archive knows it.

shims/archive-segment records each segment that it gives up in the data folder. Once archiving works again,
the gap is recorded in the archive itself, so that every restore knows it, and in the data folder, for
everything that asks no storage. It stays open until a full backup has begun behind it, also across restarts.
"""

from __future__ import annotations

import os

from entrypoint import exits, log, own
from entrypoint.archive import calls, given_up, known_gaps, pending
from entrypoint.archive.given_up import Gap, Record
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import brief
from entrypoint.errors import Failure, Problem
from entrypoint.light import re, signal
from entrypoint.postgres import segments
from entrypoint.server import sessions
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster
from entrypoint.shown import iso, spell
from entrypoint.system import files, processes, small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.archivers.terms import Backup

_ROOM = 256 * 1024
"""Bytes for the record that are allocated while there is room: enough for 150 GB of WAL."""
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE: the file gets blocks behind its end, where the shim then appends."""
_TRIES = 10
_SEGMENTS_BEFORE = 4
"""How many segments before a gap are searched for the end of a transaction."""


# What the guard of the volume calls.


def begin(context: Context) -> None:
    """Let archive-segment give up what it cannot archive, and end the call that it is waiting for."""
    data = context.settings.data_folder
    try:
        _allocate(data)
    except OSError as error:
        log.debug(f"no room is kept for the record of what is given up: {error.strerror}")
    path = f"{context.runtime_folder}/{calls.DROP}"
    os.close(small.make(path, 0o600))
    for _ in range(_TRIES):
        if not _end_calls(data):
            return
        context.children.pause(0.1)


def end(context: Context) -> None:
    """Let archive-segment keep all WAL again."""
    try:
        os.unlink(f"{context.runtime_folder}/{calls.DROP}")
    except FileNotFoundError:
        pass


def _allocate(data_folder: str) -> None:
    import ctypes

    folder = os.open(data_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(own.GIVEN_UP, flags, 0o600, dir_fd=folder)
        try:
            size = os.fstat(descriptor).st_size
            library = ctypes.CDLL(None, use_errno=True)
            place, length = ctypes.c_int64(size), ctypes.c_int64(_ROOM)
            if library.fallocate64(descriptor, _KEEP_SIZE, place, length):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(descriptor)
        os.fsync(folder)
    finally:
        os.close(folder)


def _end_calls(data_folder: str) -> bool:
    """End what archive-segment waits for, but not archive-segment itself; return whether it was waiting."""
    found = live_postmaster(data_folder)
    archiver = None if found is None else processes.child_of(found.pid, "archiver")
    shims = [] if archiver is None else processes.children_of(archiver)
    waiting = [pid for shim in shims for pid in processes.children_of(shim) if _name(pid) not in _RECORDING]
    for pid in waiting:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    return bool(waiting)


_RECORDING = ("dd", "sync", "")
"""Programs with which archive-segment makes its record durable."""


def _name(pid: int) -> str:
    """Return the name of a process's program; empty: it is gone."""
    try:
        return files.read_text(f"/proc/{pid}/comm").strip()
    except OSError:
        return ""


# What the archive knows.


def _place(opened: OpenedArchive) -> tuple[str, str]:
    """Return the folder and the path of the object, which lies next to the one that names the cluster."""
    folder = os.path.dirname(opened.tool.sign)
    return folder, f"{folder}/{own.GAPS}".lstrip("/")


def stored(opened: OpenedArchive, *, seconds: float = calls.QUICK) -> list[Gap]:
    """Return the gaps that are recorded in an archive, of all clusters and timelines; raises Failure."""
    tool, what = opened.tool, opened.server
    folder, path = _place(opened)
    listing = tool.list_folder(what, folder) if folder else tool.look(what)
    answer = opened.ask(listing, seconds=seconds)
    if answer.code == 0 and own.GAPS not in tool.parse_names(answer.stdout):
        return []
    if answer.code == 0:
        answer = opened.ask(tool.raw_object(what, path), seconds=seconds)
    if answer.code:
        words = brief(answer.stderr.strip()) or f"exit code {answer.code}"
        raise _unreadable(opened, f"cannot be read:\n{words}")
    try:
        return [each._replace(url=opened.url) for each in given_up.parse(answer.stdout)]
    except ValueError as error:
        # Whoever can write there must not be able to stop backups. Missing segments are noticed without it.
        log.problem(_unreadable(opened, f"cannot be parsed, and counts as empty: {error}").problems[0])
        return []


def _unreadable(opened: OpenedArchive, why: str) -> Failure:
    return Failure(
        Problem(
            f"the record of the gaps in {opened.url} ({_place(opened)[1]}) {why}",
            "check that the storage can be reached",
            exits.ARCHIVE_REFUSED,
            docs="when-the-disk-fills",
        )
    )


def _store(opened: OpenedArchive, gaps: Sequence[Gap]) -> None:
    """Write the record into the archive; raises Failure."""
    _, path = _place(opened)
    text = given_up.write(gaps)
    answer = opened.ask(opened.tool.store(opened.server, path), given=text)
    if answer.code and answer.code == opened.can.unknown_command_code:
        if opened.folder is None:
            log.warning(
                f"this {opened.tool.name} cannot record a gap in {opened.url}, so only this volume knows it; "
                "a restore still notices the missing segments",
                docs="when-the-disk-fills",
            )
            return
        files.write_atomically(f"{opened.folder}/{path}", text, 0o640)
    elif answer.code:
        words = brief(answer.stderr.strip()) or f"exit code {answer.code}"
        raise Failure(
            Problem(
                f"the gap cannot be recorded in {opened.url}:\n{words}",
                "check that the storage can be reached and written; it is tried again",
                exits.ARCHIVE_REFUSED,
                docs="fix-archiving",
            )
        )


def settle(opened: OpenedArchive) -> None:
    """Record in the archive what was given up; raises Failure if the archive cannot be read or written."""
    data = opened.data_folder
    noted = known_gaps.read(data)
    since = known_gaps.recorded_since(data, noted.read)
    if not (noted.gaps or since.size):
        _write_if_any(data, _believed(opened))
        return
    _put_back(data, since.record)
    there = _believed(opened)
    here = [each for each in noted.gaps if each.url == opened.url]
    new = known_gaps.new_gaps(opened.context, opened.url, since)
    gaps = given_up.merged(given_up.united(here, there), new)
    open_ones = {each.first for each in known_gaps.own_gaps(opened.context, gaps) if each.is_open}
    gaps = [_look_before(opened, each) if each.first in open_ones and not each.lsn else each for each in gaps]
    if open_ones:
        xmin = sessions.query(opened.context, "SELECT pg_snapshot_xmin(pg_current_snapshot())")
        gaps = [each._replace(next_xid=int(xmin)) if each.first in open_ones else each for each in gaps]
    for each in gaps:
        if each.first in open_ones and not any(each.first == other.first for other in there):
            log.warning(
                f"the archive has a gap: {given_up.in_words(each)} ({spell(each.bytes)}); nothing between "
                f"{iso(each.reached)} and the next full backup can be restored",
                docs="when-the-disk-fills",
            )
    _keep(opened, gaps, since.size)


def _keep(opened: OpenedArchive, gaps: Sequence[Gap], read: int) -> None:
    """Note the gaps here, then in the archive."""
    data = opened.data_folder
    elsewhere = [each for each in known_gaps.read(data).gaps if each.url != opened.url]
    gaps = [each for each in gaps if each.url == opened.url]
    known_gaps.write(data, known_gaps.Known((*elsewhere, *gaps), read))
    if all(each.stored for each in gaps):
        return
    _store(opened, [each._replace(stored=False) for each in gaps])
    gaps = [each._replace(stored=True) for each in gaps]
    known_gaps.write(data, known_gaps.Known((*elsewhere, *gaps), read))


def _believed(opened: OpenedArchive) -> list[Gap]:
    """Return the recorded gaps, but for those in WAL that this server has yet to write.

    No backup would end them, so one after the other would be taken.
    """
    found = stored(opened)
    ours = known_gaps.own_gaps(opened.context, found)
    if not ours:
        return found
    now = sessions.query(opened.context, "SELECT pg_walfile_name(pg_current_wal_lsn())").strip()
    wrong = [each for each in ours if each.last[:8] == now[:8] and each.last > now]
    for each in wrong:
        log.warning(
            f"the record of the gaps in {opened.url} names {each.first} to {each.last}, which this server "
            "has not written yet: ignored",
            "look who writes to the archive",
            docs="when-the-disk-fills",
        )
    return [each for each in found if each not in wrong]


def _write_if_any(data_folder: str, gaps: Sequence[Gap]) -> None:
    """Note the gaps that only the archive knows, as after a restore."""
    if gaps:
        known_gaps.write(data_folder, known_gaps.Known(tuple(each._replace(stored=True) for each in gaps)))


def _put_back(data_folder: str, record: Record) -> None:
    """Let the server archive the histories that archive-segment has put off."""
    folder = f"{data_folder}/pg_wal/archive_status"
    for name in record.later:
        if not os.path.exists(f"{data_folder}/pg_wal/{name}"):
            continue  # PostgreSQL has removed a backup's history file, which nobody needs
        try:
            os.replace(f"{folder}/{name}.done", f"{folder}/{name}.ready")
        except FileNotFoundError:
            os.close(os.open(f"{folder}/{name}.ready", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if record.later:
        files.sync_folder(folder)


_ENDED = re.compile(
    r"tx:\s+(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .*?desc: \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC"
)
"""A line of pg_waldump about the end of a transaction."""
_LAST_END = (
    'pg_waldump --rmgr=Transaction --path="$1" "$2" 2>/dev/null | '
    'grep -E "desc: (COMMIT|ABORT)" | tail -n 1 | cut -c -400'
)


def _look_before(opened: OpenedArchive, gap: Gap) -> Gap:
    """Return a gap with what the archive has last before it; as it was if that cannot be found out."""
    size = opened.server.segment_bytes
    number = segments.number(gap.first, size)
    for before in range(1, min(number, _SEGMENTS_BEFORE) + 1):
        name = segments.name(gap.timeline, number - before, size)
        try:
            with pending.copy_of(opened, name) as path:
                environment = {**opened.context.environment, "LC_ALL": "C", "TZ": "UTC"}
                argv = ["sh", "-c", _LAST_END, "sh", *os.path.split(path)]
                _, text = opened.context.children.output(argv, environment, seconds=calls.QUICK)
        except (Failure, OSError, TimeoutError) as error:
            log.debug(f"the last transaction before {gap.first} cannot be found: {error}")
            return gap
        found = _ENDED.search(text)
        if found:
            from datetime import UTC, datetime

            moment = datetime.fromisoformat(found[3]).replace(tzinfo=UTC).timestamp()
            return gap._replace(xid=int(found[1]), lsn=found[2], reached=moment)
    return gap


def close(opened: OpenedArchive, made: Backup) -> None:
    """Note that a backup was made: if it is full and has begun behind a gap, restores come past the gap.

    What was given up while the backup was taken counts first.
    """
    from datetime import datetime

    data = opened.data_folder
    noted = known_gaps.read(data)
    since = known_gaps.recorded_since(data, noted.read)
    if not (noted.gaps or since.size):
        return
    gaps = given_up.merged(noted.gaps, known_gaps.new_gaps(opened.context, opened.url, since))
    mine = {each.first for each in known_gaps.own_gaps(opened.context, gaps) if each.url == opened.url}
    finished = datetime.fromisoformat(made.finished).timestamp()
    after = [given_up.closed(each, made, finished) if each.first in mine else each for each in gaps]
    for before, now in zip(gaps, after, strict=True):
        if before.is_open and not now.is_open:
            log.info(f"backup {made.name} ends the gap: everything from {iso(now.back)} on can be restored")
    _keep(opened, after, since.size)


def prune(opened: OpenedArchive, backups: Sequence[Backup]) -> None:
    """Forget the gaps that no backup leads to any more; raises Failure."""
    noted = known_gaps.read(opened.data_folder)
    if not noted.gaps:
        return
    awaited = {each.first for each in known_gaps.owed(opened.context, opened.url)}
    left = [
        each
        for each in noted.gaps
        if each.url != opened.url or each.first in awaited or given_up.is_needed(each, backups)
    ]
    if len(left) == len(noted.gaps):
        return
    _store(opened, [each._replace(stored=False) for each in left if each.url == opened.url])
    known_gaps.write(opened.data_folder, noted._replace(gaps=tuple(left)))
