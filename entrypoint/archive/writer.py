"""One writer: a primary checks in its archive whether another server was promoted, and gives way to it.

A promoted server archives the history of its new timeline before anything else, so a primary looks for such
histories: before the server starts, before the first segment after an outage, and regularly while it serves
(standby/lookout.py). The result is remembered in the data folder, so that an old primary stays down even
while the storage is away. ARCHIVE_FORK allows other ways.
"""

from __future__ import annotations

import os

from entrypoint import exits, log
from entrypoint.archive import fork
from entrypoint.archive.fork import Fork
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archive.storage import storage_problem
from entrypoint.archivers.terms import Command, NoSegment, brief
from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.pid1 import status
from entrypoint.postgres import ruled, segments, timelines
from entrypoint.postgres.segments import lsn_text
from entrypoint.postgres.timelines import Rival, Written
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_major
from entrypoint.shown import spell
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST = 16
"""Most histories that are read; if there are more, the newest ones."""
_SHORT = 65536
"""Most bytes of a history that are read: it has a line of about 50 bytes for each promotion ever."""
_COUNTING = 10
"""Seconds for counting the transactions that were written here."""
_COUNTED = 100_000
"""Most transactions that are counted."""
_CLUSTER = re.compile(r"[0-9]+-([0-9]+)")
_ELSEWHERE = (fork.RESTORED, fork.REFUSED, fork.READING, fork.TAKING)
"""States of a cluster that takes no writes or does not archive: it is no rival of another server."""


class Unknown(Exception):
    """The archive cannot answer, for this reason."""


def look(opened: OpenedArchive, *, seconds: float, whole: bool = True) -> Problem | None:
    """Check whether another server was promoted, and note it; return why that cannot be found out.

    Without `whole`, a far storage is queried for the next timeline only, in one call.
    """
    data = opened.data_folder
    known = fork.read(data)
    mine = control_file.timeline(opened.context)
    if not mine or status.in_recovery(data) or (known is not None and known.state in _ELSEWHERE):
        return None
    try:
        found = find(opened, mine, seconds=seconds, whole=whole)
    except Unknown as unknown:
        return Problem(
            f"cannot find out from {opened.url} whether another server was promoted: {unknown}",
            "check that the storage can be reached and that the variables of the archive are right",
            exits.ARCHIVE_REFUSED,
            docs="fix-archiving",
        )
    if found is None:
        if known is not None and known.state == fork.SUPERSEDED:
            fork.restore(data, known)
        return None
    rival, since = found
    if known is not None and (known.state, known.theirs, known.timeline) == (
        fork.SUPERSEDED,
        rival.timeline,
        mine,
    ):
        return None  # already reported and counted
    before = known or Fork("")
    note(
        opened.context,
        describe(opened, mine, rival, since),
        Fork(
            fork.SUPERSEDED,
            opened.url,
            mine,
            theirs=rival.timeline,
            before=before.before if before.state == fork.SUPERSEDED else before.state,
            confirmed=before.confirmed,
        ),
    )
    return None


def note(context: Context, what: str, state: Fork) -> None:
    """Remember that another server has taken over."""
    again = (
        f" (already obeyed for timeline {state.confirmed}: first start once without it)"
        if state.confirmed
        else ""
    )
    hint = (
        "make this server a standby of the other one: start it with STANDBY=on on an empty volume, and keep "
        "this volume until nobody needs the data that only it has; or keep this server: stop the other one "
        f"for good, and start this one once with ARCHIVE_FORK=confirm{again}; or look at this server's data "
        "first: ARCHIVE_FORK=readonly"
    )
    fork.write(context.settings.data_folder, state._replace(what=what, hint=hint))


def find(opened: OpenedArchive, mine: int, *, seconds: float, whole: bool = True) -> tuple[Rival, str] | None:
    """Return the newest timeline of another server, and since when it exists, if that is known.

    Raises Unknown.
    """
    storage = storage_problem(opened.archive, to_write=False)
    if storage is not None:
        raise Unknown(storage.what)
    ours = segments.parse_history(_own_history(opened.context, mine))
    if opened.folder is not None:
        found, when = _in_folder(opened, mine, seconds)
    elif whole and not opened.can.flat:
        found, when = _listed(opened, mine, seconds), {}
    else:
        found, when = _asked_for(opened, mine, seconds), {}
        if whole:
            found |= _with_backups(opened, mine + len(found), seconds)
    rival = timelines.find(mine, ours, found)
    if rival is not None:
        return rival, when.get(rival.timeline, "")
    strangers = sorted(each for each in found if each > mine)
    if strangers:
        log.warning(
            f"{opened.url} holds a history of timeline {strangers[-1]} that shares nothing with "
            "this cluster's history",
            "remove it from the archive if nobody knows where it comes from",
            docs="resolve-two-writers",
        )
    if whole and _is_taken(opened, mine, seconds):
        return Rival(mine, *(ours[-1] if ours else (0, 0))), ""
    return None


def _own_history(context: Context, timeline: int) -> str:
    return "" if timeline == 1 else control_file.history(context, timeline)


def _in_folder(
    opened: OpenedArchive, mine: int, seconds: float
) -> tuple[dict[int, str | None], dict[int, str]]:
    """Return the histories of an archive in a folder, from our timeline on, and when each one arrived."""
    folder = opened.folder or ""
    root = opened.tool.wal_root
    try:
        if root.endswith("/*"):
            above = root.removesuffix("/*")
            clusters = [name for name in os.listdir(f"{folder}/{above}") if _CLUSTER.fullmatch(name)]
            newest = max(clusters, key=lambda name: int(name.partition("-")[2]), default=None)
            if newest is None:
                return {}, {}
            root = f"{above}/{newest}"
        names = os.listdir(f"{folder}/{root}")
    except FileNotFoundError:
        return {}, {}  # nothing has been archived yet
    except OSError as error:
        raise Unknown(f"{folder}/{root}: {os.strerror(error.errno or 0)}") from error
    found = _read(opened, {each: f"{root}/{each}" for each in names}, mine, seconds)
    when = {}
    for name in names:
        if name.partition(".")[0] in {f"{each:08X}" for each in found}:
            when[int(name[:8], 16)] = _time(f"{folder}/{root}/{name}")
    return found, when


def _time(path: str) -> str:
    from time import gmtime, strftime

    try:
        return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(os.lstat(path).st_mtime))
    except OSError:
        return ""


def _listed(opened: OpenedArchive, mine: int, seconds: float) -> dict[int, str | None]:
    """Return the newer histories in a far storage that lists its WAL folder in two calls."""
    from entrypoint.archive import fetching

    try:
        root, names = fetching.wal_names(opened, seconds)
    except Failure as failure:
        if isinstance(failure.__cause__, NoSegment):
            return {}
        raise Unknown(brief(failure.problems[0].what)) from failure
    return _read(opened, {each: f"{root}/{each}" for each in names}, mine, seconds)


def _read(
    opened: OpenedArchive, paths: Mapping[str, str], mine: int, seconds: float
) -> dict[int, str | None]:
    """Return the histories of newer timelines, given the names and paths in the folder; raises Unknown."""
    stored = {
        int(each[:8], 16): path
        for each, path in paths.items()
        if (name := segments.archived(each)) is not None and name.endswith(".history")
    }
    newer = sorted((each for each in timelines.numbers(paths) if each > mine), reverse=True)[:_MOST]
    found: dict[int, str | None] = {}
    for timeline in newer:
        if timeline not in stored:
            found[timeline] = None
            continue
        command = opened.tool.read_object(opened.server, stored[timeline])
        answer = opened.ask(command, seconds=seconds)
        if answer.code:
            raise Unknown(f"{stored[timeline]} cannot be read: {brief(answer.stderr.strip())}")
        found[timeline] = answer.stdout[:_SHORT]
    return found


def _asked_for(opened: OpenedArchive, mine: int, seconds: float) -> dict[int, str | None]:
    """Return the histories of the timelines that follow ours without a gap, as PostgreSQL requests them."""
    found: dict[int, str | None] = {}
    while (text := fetch(opened, mine + len(found) + 1, seconds)) is not None:
        found[mine + len(found) + 1] = text
    return found


def _with_backups(opened: OpenedArchive, last: int, seconds: float) -> dict[int, str | None]:
    """Return the histories of the timelines above `last` that have a backup.

    PostgreSQL stops at the first missing history, which would hide all later ones. A list of the backups is
    short, while a list of all segments takes long.
    """
    command = opened.tool.list_folder(opened.server, opened.tool.backups_root)
    answer = opened.ask(command, seconds=seconds)
    if answer.code:
        raise Unknown(f"the backups cannot be listed: {brief(answer.stderr.strip())}")
    names = (each.removeprefix("base_") for each in opened.tool.parse_names(answer.stdout))
    newer = sorted((each for each in timelines.numbers(names) if each > last), reverse=True)[:_MOST]
    return {each: fetch(opened, each, seconds) for each in newer}


def fetch(opened: OpenedArchive, timeline: int, seconds: float) -> str | None:
    """Return a timeline's history from the archive, or None if there is none. Raises Unknown."""
    name = f"{timeline:08X}.history"
    copy = f"{opened.runtime_folder}/look-{os.getpid()}-{name}"
    try:
        command = opened.tool.read_back(opened.server).filled(name, copy)
        answer = opened.ask(command, seconds=seconds)
        if answer.code == opened.can.missing_code:
            return None
        if answer.code:
            raise Unknown(f"{name} cannot be fetched: {brief(answer.stderr.strip())}")
        return files.read_text(copy)[:_SHORT]
    except OSError as error:
        raise Unknown(f"{name} cannot be read: {os.strerror(error.errno or 0)}") from error
    finally:
        if os.path.lexists(copy):
            os.unlink(copy)


def _is_taken(opened: OpenedArchive, mine: int, seconds: float) -> bool:
    """Return whether another server has taken the number of our own timeline at the same time as we did.

    That is possible only while our history waits to be archived. If this server has archived nothing on its
    timeline yet, any history there is another server's; otherwise the history there must be our own.
    """
    data = opened.data_folder
    if not os.path.exists(f"{data}/pg_wal/archive_status/{mine:08X}.history.ready"):
        return False
    theirs = fetch(opened, mine, seconds)
    if theirs is None:
        return False
    known = fork.read(data)
    return (known is not None and known.state == fork.STANDBY) or theirs != _own_history(opened.context, mine)


def describe(opened: OpenedArchive, mine: int, rival: Rival, since: str) -> str:
    """Return what was found, and what this cluster has written that the other one lacks."""
    what = (
        f"another server was promoted: {opened.url} holds its timeline {rival.timeline}, and this server is "
        f"on timeline {mine}"
    )
    if not rival.left:
        return f"{what}; where they diverged is not known"
    if rival.timeline == mine:
        what = f"another server has taken timeline {mine} in {opened.url} at the same time as this one"
    written = _written(opened, mine, max(rival.lsn, segments.begin(_own_history(opened.context, mine))))
    moment = since or written.first
    what = f"{what}; they diverged at {lsn_text(rival.lsn)} of timeline {rival.left}" + (
        f", {moment}" if moment else ""
    )
    if not written.bytes:
        return f"{what}; this server has written nothing since"
    least = "" if written.whole else "at least "
    what = f"{what}; since then, this server has written {least}{spell(written.bytes)} of WAL"
    if written.transactions:
        what += f", with {least}{written.transactions} transactions, the last at {written.last}"
    return what


def _written(opened: OpenedArchive, mine: int, lsn: int) -> Written:
    """Return what was written from an LSN on, according to pg_wal; recycled segments are unknown."""
    data = opened.data_folder
    size = control_file.segment_bytes(opened.context)
    start = lsn
    while not os.path.exists(f"{data}/pg_wal/{segments.name(mine, start // size, size)}"):
        control = control_file.read_control(opened.context)
        end = segments.parse_lsn(control.get("Latest checkpoint location", "0/0"))
        if start >= end:
            return Written(max(0, end - lsn), 0, "", "", whole=False)
        start = (start // size + 1) * size
    argv = ["pg_waldump", "--path", f"{data}/pg_wal", "--timeline", str(mine), "--rmgr", "Transaction"]
    argv += ["--start", lsn_text(start), "--limit", str(_COUNTED)]
    command = Command(tuple(argv), {"TZ": "UTC"})
    answer = opened.ask(command, seconds=_COUNTING)
    return timelines.parse_dump(answer.stdout, answer.stderr, lsn)


def nowhere(context: Context) -> dict[str, str]:
    """Return the settings of a recovery that reads only what is in pg_wal."""
    neutral = ruled.neutral(data_major(context.settings.data_folder))
    return {**neutral, "restore_command": "false", "recovery_target_timeline": "current"}
