"""Whether there is room for an upgrade, and a proven way back from it."""

from __future__ import annotations

import glob
import os
import time

from entrypoint import exits
from entrypoint.archive import known_gaps
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import brief
from entrypoint.backup import history
from entrypoint.backup.catalog import LONG, known_broken, own_backups
from entrypoint.collation import policy
from entrypoint.errors import Failure, Problem
from entrypoint.finding import Finding, error, ok, several, warning
from entrypoint.postgres import segments
from entrypoint.server import control_file
from entrypoint.system import progress, space
from entrypoint.upgrade import carry, older, parameters, underway
from entrypoint.upgrade.parameters import Room
from entrypoint.volume import past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.archivers.terms import Backup
    from entrypoint.server.context import Context
    from entrypoint.upgrade.parameters import Transfer

_FICLONE = 0x40049409
"""The ioctl that shares the blocks of a file, on every processor that the image is built for."""
_PAGE = underway.PAGE


def room(context: Context, spaces: tuple[str, ...], after: int, databases: int) -> Room:
    """Return what the choice of a mode depends on; the filesystem with the least room decides."""
    data = context.settings.data_folder
    work = underway.work(data)
    clones = _clones(work) and all(os.stat(each).st_dev == os.stat(work).st_dev for each in spaces)
    needed: dict[tuple[int, int], int] = {}
    places = {}
    for folder in (f"{data}/base", *spaces):
        where = space.identity(folder)
        needed[where] = needed.get(where, 0) + progress.size_of(folder)
        places[where] = folder
    total = sum(needed.values())
    theirs = 0 if clones else sum(progress.size_of(f"{data}/{name}") for name in carry.users_files(data))
    needed[space.identity(f"{data}/base")] += theirs
    least = databases * parameters.CATALOGS + parameters.WAL + theirs
    here = space.look(data).free
    swaps = f"pg_upgrade swaps only from {parameters.SWAPS} on" if after < parameters.SWAPS else ""
    if spaces:
        swaps = swaps or "the cluster has tablespaces, whose folders would be gone if it were killed"
    rooms = [
        Room(clones, count, space.look(places[where]).free, swaps, least, here, total)
        for where, count in needed.items()
    ]
    return min(rooms, key=lambda each: each.free - each.needed)


def _clones(folder: str) -> bool:
    """Return whether files in a folder can share their blocks: tried with two small files."""
    import fcntl

    paths = [f"{folder}/probe-{each}" for each in ("one", "two")]
    one = os.open(paths[0], os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    two = os.open(paths[1], os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(one, bytes(65536))
        fcntl.ioctl(two, _FICLONE, one)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(one)
        os.close(two)
        for path in paths:
            os.unlink(path)


_SAMPLE = 32 * 1024**2
"""Bytes that are copied to see how fast that is."""
_RATE = 100e6
"""Bytes a second, where there is no file to try it with."""


def duration(context: Context, mode: Transfer, found: Room, databases: int, tables: int) -> Finding:
    """Return about how long an upgrade will take."""
    rate = _rate(context.settings.data_folder) if mode == "copy" else _RATE
    seconds = parameters.seconds(mode, found, databases, tables, rate)
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    return ok(f"it will take about {took}; entrypoint upgrade rehearse measures it on a copy")


def _rate(data: str) -> float:
    """Return how many bytes of the cluster's largest file are copied in a second."""
    largest = max(
        (each for each in glob.glob(f"{data}/base/[0-9]*/[0-9]*") if os.path.isfile(each)),
        key=os.path.getsize,
        default="",
    )
    if not largest or os.path.getsize(largest) < _SAMPLE or space.look(data).free < 4 * _SAMPLE:
        return _RATE
    path = f"{underway.work(data)}/sample"
    with open(largest, "rb", buffering=0) as old, open(path, "xb", buffering=0) as new:
        os.unlink(path)
        began = time.monotonic()
        while new.tell() < _SAMPLE:
            new.write(old.read(1024**2))
        os.fsync(new.fileno())
        return _SAMPLE / (time.monotonic() - began)


def transfer(asked: str, found: Room) -> tuple[Transfer | None, Finding]:
    """Return how to transfer the files, and the finding about it."""
    chosen, why = parameters.mode(asked, found)
    if chosen is None:
        return None, error(
            f"UPGRADE_MODE={asked} is impossible: {why}",
            "make room; or use UPGRADE_MODE=link, which copies nothing: the way back is then the base backup",
            _PAGE,
        )
    told = {
        "clone": "clone: the new cluster shares the blocks of the old one, which stays whole",
        "copy": f"copy: {found.needed / 2**30:.1f} GB; the old cluster stays whole",
        "swap": "swap: copies nothing; once the new server has started, the way back is the base backup",
        "link": "link: copies nothing; once the new server has started, the way back is the base backup",
    }
    return chosen, ok(f"mode {told[chosen]}")


def way_back(
    context: Context, before: str, *, without_backup: bool, first: Callable[[], None] | None = None
) -> list[Finding]:
    """Return what is missing for a proven way back: a recent base backup, and all WAL archived.

    `first` takes a backup, and is called if one is missing; without it, that is a warning. Raises Failure if
    the archive cannot be asked.
    """
    archive = context.settings.our_archive
    if without_backup and archive is not None and (why := _unsaved(context.settings.data_folder)):
        return [error(why, "start without UPGRADE_WITHOUT_BACKUP: a backup is taken first then", _PAGE)]
    if without_backup:
        return [
            warning(
                "UPGRADE_WITHOUT_BACKUP=on: nothing checks that there is a base backup",
                "remove the variable",
                _PAGE,
            )
        ]
    if archive is None:
        return [
            error(
                "there is no archive, so there is no proven way back",
                "set ARCHIVE_URL and take a base backup with the old image; or keep a copy of the "
                "volume yourself, and set UPGRADE_WITHOUT_BACKUP=on",
                _PAGE,
            )
        ]
    opened = OpenedArchive(older.with_programs(context, before), archive)
    opened.render()
    why = unproven(opened)
    if why and first is None:
        return [
            warning(
                f"there is no proven way back: {why}",
                "upgrade run takes a base backup first; or take one with the old image, and stop it cleanly: "
                "entrypoint backup push",
                _PAGE,
            )
        ]
    if why and first is not None:
        first()
        why = unproven(opened)
    if why:
        return [
            error(
                f"there is no proven way back, although a base backup was taken: {why}",
                "start the old image, wait until entrypoint archive status shows no segment waiting, and "
                "stop it cleanly",
                "fix-archiving",
            )
        ]
    return [ok(f"a base backup of the last two days is in {opened.url}, and all WAL is archived")]


def unproven(opened: OpenedArchive) -> str:
    """Return why the archive holds no proven way back; empty: it does. Raises Failure if it cannot be asked.

    The volume's own record of backups may be a copy, and older than the archive: the archive itself counts.
    """
    data = opened.data_folder
    control = control_file.read_control(opened.context)
    if control.get("Database cluster state") != "shut down":
        return "the server was not shut down cleanly, so its last WAL is not archived"
    if left := waiting(data):
        return f"{len(left)} segments are not archived yet: {several(left)}"
    if why := _unsaved(data):
        return why
    last = history.last_runs(data).success
    if last is None or not policy.has_recent_backup(opened.context):
        return "the archive has no base backup of the last two days"
    if known_gaps.owed(opened.context, opened.url):
        return "WAL was given up since the last full backup"
    backup = next((each for each in own_backups(opened) if each.name == last.name), None)
    if backup is None:
        return f"the last base backup, {last.name}, is not in {opened.url}"
    if backup.name in (broken := known_broken(opened.context)):
        return f"the last base backup, {backup.name}, is damaged: {broken[backup.name]}"
    missing = _missing(opened, backup, control)
    return f"the archive lacks WAL since the last base backup: {several(missing)}" if missing else ""


def _unsaved(data: str) -> str:
    """Return that an earlier upgrade, or its undoing, has not reached the archive yet; empty: it has."""
    known = past.read(data)
    if known is None or known.backup:
        return ""
    end = " was undone" if known.undone else ""
    return f"the archive has no full backup since the upgrade from {known.before} to {known.after}{end}"


def _missing(opened: OpenedArchive, backup: Backup, control: Mapping[str, str]) -> list[str]:
    """Return the segments that the archive lacks between a backup and the end of the cluster's WAL."""
    answer = opened.ask(opened.tool.list_wal(opened.server), seconds=LONG)
    if answer.code:
        raise Failure(
            Problem(
                f"the WAL in {opened.url} cannot be listed:\n{brief(answer.stderr.strip())}",
                "check that the storage can be reached and that the variables of the archive are right",
                exits.ARCHIVE_REFUSED,
                docs="fix-archiving",
            )
        )
    with opened.understood():
        present = {each.name for each in opened.tool.parse_wal(answer.stdout, backup.folders)}
    size, redo = int(control["Bytes per WAL segment"]), control["Latest checkpoint's REDO WAL file"]
    timeline = int(redo[:8], 16)
    first = segments.of_lsn(backup.timeline, backup.start_lsn, size)
    last = segments.name(timeline, segments.number(redo, size) - 1, size)
    forks = segments.parse_history(control_file.history(opened.context, timeline))
    return [
        one if one == end else f"{one} to {end}"
        for one, end in segments.gaps(present, first, last, forks, size)
    ]


def waiting(data: str) -> list[str]:
    """Return the segments that wait to be archived."""
    try:
        names = os.listdir(f"{data}/pg_wal/archive_status")
    except OSError:
        return []
    return sorted(name.removesuffix(".ready") for name in names if name.endswith(".ready"))
