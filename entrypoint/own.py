"""The names of our own files in a data folder; pure.

All of them are visible, so that `rm -rf data/*`, which is how people start from scratch, removes them too. A
data folder that contains these files but none of PostgreSQL's counts as empty.
"""

UNFINISHED = "entrypoint.unfinished"
"""Folder of a first start or a restore that is not finished. See `volume/unfinished.py`."""
FINISHED = "entrypoint.finished"
"""The same folder once everything is finished. A start that finds it removes it."""
ASIDE_PREFIX = "unfinished-"
"""Before the time: a folder with an unfinished database that was moved aside on request."""

ARCHIVE = "entrypoint.archive"
"""Which archive belongs to this cluster: its URL, and the filesystem of a local folder. With an archive."""
BACKUPS = "entrypoint.backups"
"""The last 100 runs of base backups, one per line. With an archive."""
COLLATION = "entrypoint.collation"
"""What the last start found about collations. Always."""
COVERAGE = "entrypoint.coverage"
"""Which moments the backups cover, and the gaps in the WAL. After the first backup."""
DRILLS = "entrypoint.drills"
"""The last drill, and the last successful one. After the first drill."""
FORK = "entrypoint.fork"
"""What is known about other servers that write to the archive.

From a restore or a promotion to the next full backup, and after another server was promoted.
"""
GAPS = "entrypoint.gaps"
"""The gaps in the archive that were made on purpose. With `ARCHIVE_WHEN_FULL=drop`, after the first one."""
GIVEN_UP = "entrypoint.given-up"
"""The WAL segments that were given up. With `ARCHIVE_WHEN_FULL=drop`, until the next start."""
INIT = "entrypoint.init"
"""Digests of the init files. After a first start that ran init files."""
NOTIFY = "entrypoint.notify"
"""Messages that wait to be sent, and which targets fail; no secrets. With `NOTIFY_URLS` or a ping URL."""
READ = "entrypoint.read"
"""When each part of the archive was last read. With `BACKUP_VERIFY=content`."""
REFUSED = "entrypoint.refused"
"""Which starts were refused since the last one that served. With `NOTIFY_URLS` or `NOTIFY_HEARTBEAT_URL`."""
STOPS = "entrypoint.stops"
"""How the last stops went. After the first stop."""
UPGRADE = "entrypoint.upgrade"
"""Folder of an upgrade that is not finished. See `upgrade/underway.py`."""
UPGRADED = "entrypoint.upgraded"
"""What the cluster was upgraded from, and where the old one is kept. After an upgrade."""
KEPT = "pgsql_tmp"
"""Folder of the new cluster during an upgrade, and of the old one after it.

Base backups leave out everything in a folder of this name.
"""
WATCH = "entrypoint.watch"
"""What the watch has noted: conditions, and the last events. If the watch runs."""
PREFIX = "entrypoint."
"""Prefix of the files in which shims/archive-segment notes an outage here, while /run is full."""
HALF = ".new"
"""Suffix of a file while it is being written."""

WAL_CHECK = "entrypoint.check"
"""Folder in pg_wal for a segment that is read back from the archive, if /run has no room for it."""
_FORMER_WAL_CHECK = ".entrypoint-check-"
RESERVE = "entrypoint.reserve"
"""Folder in pg_wal with space that is given up when the disk is full. See `volume/reserve.py`.

If pg_wal is on another filesystem, there is a small one in pg_stat_tmp as well. No base backup contains them.
"""
FREED = "pg_logical/snapshots/0-0.snap"
"""One MB that each checkpoint removes just before it writes a small file of its own. See `volume/ahead.py`.

Logical decoding never looks for it, since its name is from before all WAL. PID 1 makes it again.
"""
FREED_LATE = "pg_logical/replorigin_checkpoint.tmp"
"""A second name of it: each checkpoint removes a file of this name in the moment before it writes its own."""
DRILL_SCRATCH = "entrypoint.drill"
"""Below DRILL_FOLDER: the folder of a drill. The next start or drill removes a leftover one."""

_OUTAGE = (f"{PREFIX}archive-failing", f"{PREFIX}archive-words")
_NOTES = (
    *(ARCHIVE, BACKUPS, COLLATION, COVERAGE, DRILLS, FORK, GAPS, GIVEN_UP),
    *(INIT, NOTIFY, READ, REFUSED, STOPS, UPGRADED, WATCH),
)
_ALL = (*_NOTES, *_OUTAGE, UNFINISHED, FINISHED, UPGRADE)
_FORMER = {".entrypoint": UNFINISHED, ".entrypoint.done": FINISHED}


def is_ours(name: str) -> bool:
    """Return whether a name in a data folder is ours, from this version or an earlier one.

    >>> [is_ours(name) for name in (FORK, ".entrypoint.fork", f"{FORK}.new", ".entrypoint", "entrypoint.txt")]
    [True, True, True, True, False]
    """
    now = present(name) or name
    return now.removesuffix(HALF) in _ALL or is_aside(now)


def is_ours_in_wal(name: str) -> bool:
    """Return whether a name in pg_wal is ours."""
    return name == RESERVE or is_left_in_wal(name)


def is_left_in_wal(name: str) -> bool:
    """Return whether a name in pg_wal is what a killed check has left."""
    return name == WAL_CHECK or name.startswith(_FORMER_WAL_CHECK)


def is_aside(name: str) -> bool:
    """Return whether a folder was moved aside: its name ends with the time.

    >>> is_aside("unfinished-20261122T180000Z+"), is_aside("unfinished-work")
    (True, False)
    """
    time = name.removeprefix(".").removeprefix(ASIDE_PREFIX).rstrip("+")
    return name.removeprefix(".").startswith(ASIDE_PREFIX) and len(time) == 16 and time[:8].isdigit()


def present(name: str) -> str | None:
    """Return the current name for one that earlier versions used; None: they did not use it.

    >>> present(".entrypoint.backups"), present(".entrypoint"), present(".unfinished-20261122T180000Z")
    ('entrypoint.backups', 'entrypoint.unfinished', 'unfinished-20261122T180000Z')
    >>> present(".hidden")
    """
    if not name.startswith("."):
        return None
    now = _FORMER.get(name, name[1:])
    return now if now.removesuffix(HALF) in _ALL or is_aside(name) else None


def former(name: str) -> str:
    """Return the name that earlier versions used.

    >>> former(BACKUPS), former(UNFINISHED)
    ('.entrypoint.backups', '.entrypoint')
    """
    return next((old for old, now in _FORMER.items() if now == name), f".{name}")
