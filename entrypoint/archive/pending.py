"""Archiving on request: push the waiting files, and prove that the archive returns what is written to it."""

from __future__ import annotations

import filecmp
import glob
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from entrypoint import exits, own
from entrypoint.archive import backlog, calls, claim, fork
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import PROBE, Command, brief
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server import control_file, sessions
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster, read_postmaster
from entrypoint.settings.archiving import Archive
from entrypoint.system import files, space
from entrypoint.system.locks import Alone
from entrypoint.volume import holder

_LOOK_EVERY = 0.1
"""Seconds between two looks at the waiting files."""
_LOCK = "round-trip.lock"
"""In the runtime folder."""


class Trip(NamedTuple):
    """The round trip of a small object to the archive and back."""

    seconds: float
    """For writing, reading back and removing the object."""
    stays: str
    """Why the object could not be removed; empty if it was removed."""


def round_trip(
    opened: OpenedArchive, seconds: float, say: Callable[[str], None] = lambda _: None
) -> Trip | None:
    """Write a small object to the archive, read it back and remove it; call `say` before each step.

    Returns None if the archiver has no command for that. Raises Failure if the object cannot be written or
    does not come back, all within `seconds`. Its name is always the same: the next trip overwrites and
    removes what a killed one leaves, and no tool takes the object for WAL or for a part of a backup.
    """
    began = time.monotonic()
    what, tool, url = opened.server, opened.tool, opened.url
    content = f"written by the entrypoint to test the archive: {time.time()}\n"

    def do(step: str, command: Command) -> tuple[str, str, int]:
        """Return the archiver's output, why it failed, and its exit code."""
        say(step)
        left = max(1.0, began + seconds - time.monotonic())
        answer = opened.ask(command, seconds=left, given=content)
        words = brief(answer.stderr.strip()) or f"exit code {answer.code}"
        return answer.stdout, words if answer.code else "", answer.code

    with _alone(opened.context, began + seconds):
        _, failed, code = do("writing", tool.store(what, PROBE))
        if failed and code == tool.capabilities.unknown_command_code:
            return None
        if failed:
            raise Failure(_failed(opened, f"{url} cannot be written:\n{failed}"))
        try:
            read, failed, _ = do("reading back", tool.raw_object(what, PROBE))
        finally:
            stays = do("removing", tool.remove(what, PROBE))[1]
            _remove_torn(opened.archive)
    if failed or read != content:
        found = f"cannot be read back:\n{failed}" if failed else "came back with different content"
        raise Failure(_failed(opened, f"what was written to {url} {found}"))
    return Trip(time.monotonic() - began, stays)


def _alone(context: Context, deadline: float) -> Alone:
    """Wait until no other process in this container makes a round trip, and make others wait for this one."""

    def wait() -> None:
        if time.monotonic() > deadline:
            what = "another process in this container has been testing the archive all the time"
            raise Failure(Problem(what, "try again when it has ended"))
        context.children.pause(_LOOK_EVERY)

    # Not a lock of the folder itself: a start holds that one as long as it lives.
    return Alone(f"{context.runtime_folder}/{_LOCK}", wait)


def _remove_torn(archive: Archive) -> None:
    """Remove the half-written objects that killed trips left in a folder."""
    if archive.storage.folder is not None:
        for path in glob.glob(f"{glob.escape(archive.storage.folder)}/{PROBE}.*"):
            try:
                os.unlink(path)
            except OSError:
                continue


class Proof(NamedTuple):
    """The result of a check."""

    segment: str
    archived_seconds: float
    """From the switch of the segment until it was archived."""
    fetched_seconds: float
    compared: bool
    """Whether the server still had the segment; if so, it is the same byte for byte."""
    object_seconds: float | None
    """For writing, reading back and removing a small object first; None if the archiver cannot do that."""
    object_stays: str
    """Why that object could not be removed; empty if it was removed."""


def check(opened: OpenedArchive, seconds: float, say: Callable[[str], None]) -> Proof:
    """Archive the current segment and read it back; raises Failure if a step does not work.

    Nothing stays in the archive except what the server would have archived anyway.
    """
    _refuse_where_forked(opened.context)
    _refuse_without_primary(opened.context, "a check writes WAL")
    began = time.monotonic()
    # An archive that does not work at all is reported at once, not after the segment's timeout.
    trip = round_trip(opened, seconds, lambda step: say(f"{step}: a small object"))
    seconds -= time.monotonic() - began
    mark = "pg_create_restore_point('entrypoint archive check')"
    name = sessions.query(opened.context, f"SELECT pg_walfile_name({mark})", writes=True)
    began = time.monotonic()
    sessions.query(opened.context, "SELECT pg_switch_wal()", writes=True)
    say(f"waiting for {name} to be archived")
    _wait(opened, {name}, seconds, say)
    archived = time.monotonic() - began
    say(f"reading {name} back")
    fetched, compared = read_back(opened, name)
    small = (None, "") if trip is None else (round(trip.seconds, 2), trip.stays)
    return Proof(name, round(archived, 2), round(fetched, 2), compared, *small)


def read_back(opened: OpenedArchive, name: str, *, patience: float = calls.QUICK) -> tuple[float, bool]:
    """Read an archived segment back; return the seconds, and whether it was compared with the server's copy.

    Raises Failure if it does not come back within `patience` seconds, or if it differs.
    """
    began = time.monotonic()
    with copy_of(opened, name, patience=patience) as copy:
        fetched = time.monotonic() - began
        original = f"{opened.data_folder}/pg_wal/{name}"
        compared = os.path.exists(original)
        if compared and not filecmp.cmp(original, copy, shallow=False):
            # If the server has recycled it meanwhile, that name is gone.
            if os.path.exists(original):
                raise Failure(_failed(opened, f"{name} came back with different content"))
            compared = False
        return fetched, compared


@contextmanager
def copy_of(opened: OpenedArchive, name: str, *, patience: float = calls.QUICK) -> Iterator[str]:
    """Yield the path of a copy of an archived segment, whose name is the segment's; raises Failure."""
    above = f"{_room(opened, name)}/{own.WAL_CHECK}"
    folder = f"{above}/{os.getpid()}"
    copy = f"{folder}/{name}"
    try:
        _make(above)
        _make(folder)
        command = opened.tool.read_back(opened.server).filled(name, copy)
        code, words = opened.run_quietly(command, seconds=patience)
        if code:
            raise Failure(_failed(opened, f"{name} cannot be read back (exit code {code}):\n{words.strip()}"))
        yield copy
    finally:
        if os.path.exists(copy):
            os.unlink(copy)
        _remove_empty(folder)
        _remove_empty(above)


def _make(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass  # another process is using it, or was killed


def _remove_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # another process is using it


def _room(opened: OpenedArchive, name: str) -> str:
    """Return a folder with room for a segment that is read back: /run, or pg_wal while that has plenty.

    Raises Failure if neither has room.
    """
    size = control_file.segment_bytes(opened.context)
    wal = f"{opened.data_folder}/pg_wal"
    for folder, needed in ((opened.runtime_folder, 2 * size), (wal, 8 * size)):
        found = space.look(folder)
        if found.free >= needed and found.has_files(1):
            return folder
    raise Failure(
        _failed(
            opened,
            f"{name} cannot be read back: neither {opened.runtime_folder} nor {wal} has room for it",
        )._replace(hint="give /run or the data folder more room")
    )


def push(opened: OpenedArchive, seconds: float, say: Callable[[str], None]) -> list[str]:
    """Archive everything that waits now, and return the names; raises Failure if some of it still waits.

    A running server's own archiver does the work, and this function waits for it. Without a server, the work
    is done here, in PostgreSQL's order and under the lock of the data folder.
    """
    folder = opened.data_folder
    _refuse_where_forked(opened.context)
    waiting = backlog.waiting(folder)
    if live_postmaster(folder) is not None:
        if waiting:
            _wait(opened, set(waiting), seconds, say)
        return waiting
    lock = holder.lock_folder(folder)
    try:
        if waiting:
            claim.prepare(opened, must_work=True)
        os.chdir(folder)
        for number, name in enumerate(waiting, 1):
            say(f"{name} ({number} of {len(waiting)})")
            _push_one(opened, name)
    finally:
        os.close(lock)
    return waiting


def _push_one(opened: OpenedArchive, name: str) -> None:
    command = opened.tool.archive_segment(opened.server).filled(name, f"pg_wal/{name}")
    code, words = opened.run_quietly(command, seconds=opened.archive.command_timeout)
    if code:
        raise Failure(_failed(opened, f"{name} cannot be archived (exit code {code}):\n{words.strip()}"))
    status = "pg_wal/archive_status"
    os.replace(f"{status}/{name}.ready", f"{status}/{name}.done")
    files.sync_folder(status)


def _wait(opened: OpenedArchive, names: set[str], seconds: float, say: Callable[[str], None]) -> None:
    """Wait until none of these files waits to be archived any more."""
    folder = opened.data_folder
    deadline = time.monotonic() + seconds
    said = time.monotonic()
    while left := names & set(backlog.waiting(folder)):
        if time.monotonic() > deadline:
            state = backlog.look(opened.archive, folder, opened.runtime_folder)
            words = f"; the archiver says: {state.last_error}" if state.last_error else ""
            what = f"after {seconds:.0f} seconds {min(left)} and {len(left) - 1} others still wait{words}"
            raise Failure(_failed(opened, what))
        if time.monotonic() - said > 5:
            say(f"{len(left)} still wait")
            said = time.monotonic()
        opened.context.children.pause(_LOOK_EVERY)


def _failed(opened: OpenedArchive, what: str) -> Problem:
    hint = f"check that {opened.url} can be reached and written; nothing is lost while pg_wal has room"
    return Problem(what, hint, exits.ARCHIVE_REFUSED, docs="fix-archiving")


def _refuse_where_forked(context: Context) -> None:
    refused = fork.refusal(context.settings.data_folder)
    if refused is not None:
        raise Failure(refused)


def _refuse_without_primary(context: Context, why: str) -> None:
    found = read_postmaster(context.settings.data_folder)
    if found is None or found.status != "ready":
        raise Failure(
            Problem(
                f"no server accepts connections on {context.settings.data_folder}, and {why}",
                "run this in the server's container: docker exec CONTAINER entrypoint archive check",
            )
        )
    if sessions.query(context, "SELECT pg_is_in_recovery()") == "t":
        raise Failure(Problem(f"the server is in recovery, and {why}", "run this on the primary"))
