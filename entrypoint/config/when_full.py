"""The server's settings while a disk is about to be full; see volume/room.

They are in files that are prepared before the server starts, and are included last: PID 1 switches from one
to another, see pid1/brake.
"""

from __future__ import annotations

import os
import time

from entrypoint.config import rendered
from entrypoint.pid1 import brake
from entrypoint.postgres.sql import conf_value
from entrypoint.system import files, small, space
from entrypoint.volume import installing, room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.config.sources import Source
    from entrypoint.server.context import Context
    from entrypoint.volume.room import Level

_MB = 1024**2
_MAX_WAL = "max_wal_size"
_FEW = 4
"""Segments that are enough for a server with little to do, and are kept for it."""
DEFAULT_WAL = 1024 * _MB
"""Bytes: PostgreSQL's default for max_wal_size."""
_HEAD = """\
# The entrypoint renders this file, so that it can make transactions read-only before the disk is full
# (ARCHIVE_WHEN_FULL). Edit the file that is included first.

"""


def disks(data_folder: str) -> list[str]:
    """Return a folder on each filesystem that must not become full: that of the WAL, and that of the data."""
    found: dict[tuple[int, int], str] = {}
    for folder in (os.path.realpath(f"{data_folder}/pg_wal"), data_folder):
        try:
            found.setdefault(space.identity(folder), folder)
        except OSError:
            continue
    return [*found.values()]


def settings(level: Level, segment: int, size: int) -> dict[str, str]:
    """Return the settings of a level; the sizes of a WAL segment and of the WAL's filesystem are in bytes.

    With a large max_wal_size, WAL that was archived would be kept under new names, and the space would never
    come back. On a full disk, a few such segments are what the server can still write to: nobody else can
    take them. A sort that spills to disk fails rather than the server.

    >>> settings(room.TIGHT, 16 * 1024**2, 10**10)
    {'wal_recycle': 'on', 'min_wal_size': '64MB', 'max_wal_size': '128MB', 'checkpoint_warning': '0'}
    """
    if level == room.NORMAL:
        return {}
    least = _FEW * segment
    most = min(2 * least, _fitting(segment, size))
    found = {
        "wal_recycle": "on",
        "min_wal_size": f"{least // _MB}MB",
        "max_wal_size": f"{(most if level == room.TIGHT else least) // _MB}MB",
        "checkpoint_warning": "0",
    }
    if level == room.TIGHT:
        return found
    return {
        **found,
        "default_transaction_read_only": "on",
        "autovacuum": "off",
        "temp_file_limit": f"{segment // _MB}MB",
    }


def _fitting(segment: int, size: int) -> int:
    """Return a max_wal_size in bytes that fits on a small filesystem."""
    return max(_FEW * segment, size // 8)


def is_small(context: Context) -> bool:
    """Return whether PostgreSQL's default max_wal_size, 1 GB, is too much for the filesystem of the WAL."""
    if not rendered.guards(context):
        return False
    return space.look(_wal_place(context.settings.data_folder)).size < 4 * DEFAULT_WAL


def _wal_place(data_folder: str) -> str:
    """Return a folder on the filesystem of the WAL, also before there is a cluster."""
    return next(path for path in (f"{data_folder}/pg_wal", data_folder, "/") if os.path.exists(path))


def fitting(context: Context) -> list[Source]:
    """Return a max_wal_size that fits on a small filesystem, unless a person has set one.

    Otherwise a server that is only busy would fill it with WAL that it no longer needs.
    """
    from entrypoint.config import collect, sources
    from entrypoint.config.sources import Source

    found = sources.winners(collect.base(context)).get(_MAX_WAL)
    if not is_small(context) or (found is not None and found.origin != sources.IMAGE):
        return []
    data = context.settings.data_folder
    size = space.look(_wal_place(data)).size
    value = _fitting(installing.segment_bytes(data), size) // _MB
    why = f"an eighth of the {size // _MB} MB for WAL, the least is four segments"
    return [Source(_MAX_WAL, f"{value}MB", sources.SMALL_DISK, "the entrypoint", why)]


def prepare(context: Context) -> None:
    """Write the settings of all levels, and choose those that the server starts with.

    A new cluster is made with those of the level `normal`: its init files have to write, and a first start
    that fails leaves nothing behind.
    """
    if not rendered.guards(context):
        return
    folder = context.runtime_folder
    data = context.settings.data_folder
    segment = installing.segment_bytes(data)
    for level in room.LEVELS:
        text = _text(level, settings(level, segment, space.look(_wal_place(data)).size))
        _write(f"{folder}/{brake.prepared(level)}", text)
    seen = brake.Brake(disks(data), segment)
    exists = os.path.exists(f"{data}/PG_VERSION")
    brake.switch(folder, seen.look(time.monotonic()) if exists else room.NORMAL)


def _write(path: str, text: str) -> None:
    """Write a file unless it is there: a start may render its configuration three times."""
    try:
        if small.read_text(path) == text:
            return
    except OSError:
        pass  # it is not there, or not a file
    files.write_atomically(path, text)


def _text(level: Level, wanted: Mapping[str, str]) -> str:
    lines = [f"{name} = {conf_value(value)}\n" for name, value in wanted.items()]
    return "".join((f"# {level}: see ARCHIVE_WHEN_FULL\n", *lines))


def write_plain(context: Context) -> str:
    """Write a configuration file that adds nothing but the settings of the present level; return its path.

    A plain start must stay fast, so this does without the template.
    """
    wanted = context.settings
    base = wanted.server.settings.get("config_file") or f"{wanted.data_folder}/postgresql.conf"
    path = rendered.rendered_path(context)
    text = f"{_HEAD}include {conf_value(base)}\ninclude {conf_value(active(context))}\n"
    files.write_atomically(path, text)
    return path


def active(context: Context) -> str:
    """Return the path of the file with the settings of the present level."""
    return f"{context.runtime_folder}/{brake.ACTIVE}"
