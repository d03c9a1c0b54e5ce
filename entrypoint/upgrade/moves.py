"""The steps by which one cluster takes another one's place in a data folder; pure.

Each step can be repeated, so whoever finds them half done does all of them again. They begin after the
commit, which replaced PG_VERSION. The control file moves last: until then, no server of any major starts on
the folder, since PG_VERSION and the control file are of different majors.
"""

from __future__ import annotations

from entrypoint import own
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final, Literal

    Kind = Literal["folder", "move", "version", "link"]

FOLDER: Final = "folder"
"""Make the folder `path`."""
MOVE: Final = "move"
"""Rename `path` to `other`."""
VERSION: Final = "version"
"""Write the file `path` with the major version `other`."""
LINK: Final = "link"
"""Make `path` a symbolic link to `other`."""
KINDS: dict[str, Kind] = {"folder": FOLDER, "move": MOVE, "version": VERSION, "link": LINK}

_LAST = "global"
_STAYS = (
    *("PG_VERSION", own.UPGRADE, own.UPGRADE + own.HALF, own.KEPT, "lost+found"),
    *(own.UPGRADED, own.UPGRADED + own.HALF),
    *("log", "pg_log"),
)
"""What does not move along with a cluster: the note about the last upgrade is replaced, and logs continue."""


class Step(NamedTuple):
    """One change of the filesystem."""

    kind: Kind
    path: str
    other: str = ""


class Wal(NamedTuple):
    """A folder for the WAL outside the data folder, where the old WAL makes room for the new."""

    folder: str
    aside: str
    source: str
    """The folder in which the WAL of the incoming cluster lies until then."""
    leaving: tuple[str, ...]
    """The names in `folder` that leave."""
    coming: tuple[str, ...]


class Leaving(NamedTuple):
    """The cluster that leaves the data folder."""

    folder: str
    """Where it goes."""
    major: str
    names: tuple[str, ...]


class Coming(NamedTuple):
    """The cluster that takes its place."""

    folder: str
    """Where it was until then."""
    names: tuple[str, ...]


def leaving(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in a data folder that belong to its cluster, including our notes about it.

    What was moved aside on request stays as well: `finish` must not remove it.

    >>> aside = "unfinished-20261122T180000Z"
    >>> leaving(["base", "PG_VERSION", "entrypoint.upgraded", "pgsql_tmp", "entrypoint.stops", "log", aside])
    ('base', 'entrypoint.stops')
    """
    return tuple(sorted(name for name in names if name not in _STAYS and not own.is_aside(name)))


def steps(data: str, out: Leaving, into: Coming, wal: Wal | None = None) -> tuple[Step, ...]:
    """Return the steps by which one cluster leaves a data folder and another one takes its place.

    PG_VERSION is not among the moves: the commit has replaced it, so a file with the old version is written.

    >>> names = ("base", "global")
    >>> for step in steps("/d", Leaving("/d/pgsql_tmp/old", "15", names), Coming("/s", names))[3:]:
    ...     print(step.path, step.other)
    /d/base /d/pgsql_tmp/old/base
    /s/base /d/base
    /d/global /d/pgsql_tmp/old/global
    /s/global /d/global
    """

    def moves(names: Iterable[str], before: str, after: str) -> list[Step]:
        return [Step(MOVE, f"{before}/{name}", f"{after}/{name}") for name in names]

    aside, source = out.folder, into.folder
    found = [Step(FOLDER, f"{data}/{own.KEPT}"), Step(FOLDER, aside)]
    found.append(Step(VERSION, f"{aside}/PG_VERSION", out.major))
    found += moves((name for name in out.names if name != _LAST), data, aside)
    found += moves((name for name in into.names if name not in (_LAST, "PG_VERSION")), source, data)
    if wal is not None:
        found.append(Step(FOLDER, wal.aside))
        found += moves(wal.leaving, wal.folder, wal.aside)
        found += moves(wal.coming, wal.source, wal.folder)
        found += [Step(LINK, f"{aside}/pg_wal", wal.aside), Step(LINK, f"{data}/pg_wal", wal.folder)]
    found += moves((name for name in out.names if name == _LAST), data, aside)
    found += moves((name for name in into.names if name == _LAST), source, data)
    return tuple(found)


def impossible(steps: Iterable[Step], exists: Callable[[str], bool]) -> list[str]:
    """Return why steps cannot be done, one after the other, from the names that exist now.

    >>> there = {"/d/base", "/d/old"}
    >>> impossible([Step(MOVE, "/d/base", "/d/old"), Step(MOVE, "/d/global", "/d/x")], there.__contains__)
    ['/d/old exists already', '/d/global does not exist']
    >>> there = {"/d/global", "/d/global/pg_control"}
    >>> last = Step(MOVE, "/d/old/global/pg_control", "/d/old/global/pg_control.old")
    >>> impossible([Step(MOVE, "/d/global", "/d/old/global"), last], there.__contains__)
    []
    """
    now: dict[str, bool] = {}
    origin: dict[str, str] = {}
    found = []

    def known(path: str) -> bool:
        if path in now:
            return now[path]
        above = path
        while above := above.rpartition("/")[0]:
            if above in origin:
                return exists(origin[above] + path[len(above) :])
        return exists(path)

    for step in steps:
        if step.kind != MOVE:
            now[step.path] = True
            continue
        if not known(step.path):
            found.append(f"{step.path} does not exist")
        if known(step.other):
            found.append(f"{step.other} exists already")
        now[step.path], now[step.other] = False, True
        origin[step.other] = step.path
    return found
