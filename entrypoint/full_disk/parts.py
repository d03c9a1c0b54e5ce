"""The parts of what fills a disk, in words, each with the command that helps; pure."""

from __future__ import annotations

import shlex

from entrypoint.light import NamedTuple
from entrypoint.shown import inline, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal

    Kind = Literal[
        "unarchived",
        "slot",
        "wal",
        "temporary",
        "log",
        "core",
        "database",
        "tablespace",
        "data",
        "reserve",
        "archive",
        "drill",
        "other",
    ]

_MOST = 3
"""Parts that are worth a line."""
_LEAST = 0.02
"""A part that weighs less than this share of the heaviest one is not worth a line."""
_SUSPECT = ("unarchived", "slot", "temporary", "log", "core")
"""What should be small, so that it counts ten times: it fills a disk, and the data only takes its place."""


class Part(NamedTuple):
    """Something that takes space on a disk."""

    kind: Kind
    name: str
    """The name of the slot, database or tablespace, the pid of a process, or a folder."""
    what: str
    """The same in words."""
    hint: str
    """The command, variable or action that makes it smaller; empty if nothing should."""
    bytes: int
    files: int = 0
    counted: bool = True
    """False: there is more than was counted, since counting took too long."""


class Slot(NamedTuple):
    """A replication slot that keeps WAL."""

    name: str
    lsn: int
    """The first one that it keeps."""
    active: bool | None = None
    """Whether somebody reads it; None: not known."""
    still_since: float | None = None
    """When the server last noted that it has moved, in seconds since 1970."""


def drop(name: str) -> str:
    """Return the command that drops a slot.

    >>> drop("it's")
    "SELECT pg_drop_replication_slot('it''s')"
    """
    return "SELECT pg_drop_replication_slot('{}')".format(inline(name).replace("'", "''"))


def unarchived(size: int, files: int, reason: str | None) -> Part:
    """Return the WAL that waits to be archived; `reason` is why archiving fails, None if it does not."""
    why = "archiving is slower than the writers" if reason is None else f"archiving fails: {reason[:300]}"
    hint = (
        "fix archiving, see: entrypoint archive status"
        if reason is not None
        else "give the archive more time"
    )
    return Part("unarchived", "", f"WAL that waits to be archived ({files} files; {why})", hint, size, files)


def slot(found: Slot, size: int, files: int) -> Part:
    """Return the WAL that a replication slot holds."""
    reader = {None: "", True: ", whose reader is behind", False: ", which nobody reads"}[found.active]
    hint = (
        f"let the reader of slot {inline(found.name)} catch up, or drop the slot if nobody needs it: "
        f"{drop(found.name)}; SLOT_WAL_LIMIT limits all slots"
    )
    return Part("slot", found.name, f"WAL that slot {inline(found.name)} holds{reader}", hint, size, files)


def kept(size: int, files: int) -> Part:
    """Return the WAL that is held neither by the archive nor by a slot."""
    what = "WAL that the server keeps (max_wal_size, min_wal_size, wal_keep_size)"
    return Part(
        "wal", "", what, "lower max_wal_size or wal_keep_size, if it is large for this disk", size, files
    )


def temporary(pid: str, size: int, files: int) -> Part:
    """Return the temporary files of a process; without a pid, those of several processes."""
    if not pid:
        what, hint = (
            "temporary files of queries",
            "set temp_file_limit, or a larger work_mem",
        )
    else:
        what = f"temporary files of process {pid}"
        hint = f"end the query: SELECT pg_terminate_backend({pid}); temp_file_limit limits each session"
    return Part("temporary", pid, what, hint, size, files)


def folder(kind: Kind, path: str, size: int, files: int, *, counted: bool = True) -> Part:
    """Return a folder of the server, or one that the entrypoint has made."""
    shown = inline(path)
    what, hint = {
        "log": (
            f"the server's log in {shown}",
            f"remove old files in {shown}; log_rotation_age and log_truncate_on_rotation keep it small",
        ),
        "core": (f"core dumps in {shown}", f"remove them: rm {shlex.quote(shown)}/core*"),
        "reserve": (f"the reserve in {shown}, which is given up when it is needed", ""),
        "archive": (
            f"the archive in {shown}",
            "move the archive to another disk, or keep fewer backups: BACKUP_RETAIN_FULL, BACKUP_RETAIN_DAYS",
        ),
        "drill": (f"the drill folder {shown}", "set DRILL_FOLDER to a folder on another disk"),
        "data": (f"other files in {shown}", f"look for what is not PostgreSQL's in {shown}"),
    }[kind]
    return Part(kind, path, what, hint, size, files, counted)


def database(name: str, size: int, files: int, *, counted: bool = True) -> Part:
    """Return the files of a database in the data folder."""
    what = f"database {inline(name)}"
    hint = f"remove what nobody needs from {what} (DROP, TRUNCATE), or make the disk larger"
    return Part("database", name, what, hint, size, files, counted)


def tablespace(name: str, path: str, size: int, files: int, *, counted: bool = True) -> Part:
    """Return the files of a tablespace."""
    what = f"tablespace {inline(name)} in {inline(path)}"
    hint = f"remove what nobody needs from {what} (DROP, TRUNCATE), or make its disk larger"
    return Part("tablespace", name, what, hint, size, files, counted)


def other(size: int, files: int, *, counted: bool) -> Part:
    """Return what is on the disk and not the server's; without `counted`, some of it may be the server's."""
    what = "other things on this disk" if counted else "other things on this disk, or what was not counted"
    return Part("other", "", what, "look on the host: df, docker system df, du", size, files)


def ordered(found: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts that take space or inodes, the largest first."""
    return tuple(sorted((each for each in found if each.bytes or each.files), key=lambda each: -each.bytes))


def heaviest(found: Sequence[Part], *, inodes: bool = False) -> tuple[Part, ...]:
    """Return the few parts that matter, the first one most; `inodes`: the disk has no inodes left."""
    weights = {each: _weight(each, inodes=inodes) for each in found}
    best = sorted(found, key=lambda each: -weights[each])[:_MOST]
    return tuple(each for each in best if weights[each] > 0 and weights[each] >= _LEAST * weights[best[0]])


def _weight(part: Part, *, inodes: bool) -> int:
    return (part.files if inodes else part.bytes) * (10 if part.kind in _SUSPECT else 1)


def words(found: Sequence[Part], *, inodes: bool = False) -> str:
    r"""Return what fills a disk, in one to three lines; empty if that is not known.

    >>> words((kept(1024**3, 64), slot(Slot("a", 0, False), 9 * 1024**3, 576)))
    '9216 MiB: WAL that slot a holds, which nobody reads'
    """
    return "\n".join(
        f"{_amount(each, inodes=inodes)}: {each.what}" for each in heaviest(found, inodes=inodes)
    )


def _amount(part: Part, *, inodes: bool) -> str:
    least = "" if part.counted else "at least "
    return f"{least}{part.files} files" if inodes else f"{least}{spell(part.bytes)}"


def hint(found: Sequence[Part], *, inodes: bool = False) -> str:
    """Return what to do about the parts that matter, the heaviest first."""
    hints = dict.fromkeys(each.hint for each in heaviest(found, inodes=inodes) if each.hint)
    return "\n".join(hints)
