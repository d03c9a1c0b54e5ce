"""What the cluster's control file and its signal files tell: timeline, segments, whether it is a standby."""

from __future__ import annotations

import os

from entrypoint.pid1 import status
from entrypoint.postgres.cluster import parse_control
from entrypoint.server.context import Context
from entrypoint.system import files, small

OURS = "entrypoint\n"
"""In a standby.signal that is ours; PostgreSQL looks at the file's name alone."""


def segment_bytes(context: Context) -> int:
    """Return the size of a WAL segment of the cluster; PostgreSQL's default before there is one."""
    control = read_control(context)
    return int(control.get("Bytes per WAL segment", 16 * 1024**2))


_controls: dict[tuple[str, int, int], dict[str, str]] = {}
"""What was read, by path, inode and time of change: a start with an archive asks several times."""


def read_control(context: Context) -> dict[str, str]:
    """Return what pg_controldata prints, or nothing without a cluster."""
    path = f"{context.settings.data_folder}/global/pg_control"
    try:
        found = os.stat(path)
    except OSError:
        return {}
    if (known := _controls.get((path, found.st_ino, found.st_mtime_ns))) is not None:
        return known
    environment = {**context.environment, "LC_ALL": "C"}
    argv = ["pg_controldata", "-D", context.settings.data_folder]
    code, text = context.children.output(argv, environment)
    if code:
        return {}
    return _controls.setdefault((path, found.st_ino, found.st_mtime_ns), parse_control(text))


def system_identifier(context: Context) -> str:
    """Return the cluster's system identifier; empty without a cluster."""
    return read_control(context).get("Database system identifier", "")


def history(context: Context, timeline: int) -> str:
    """Return a timeline's history as it lies in pg_wal; empty where there is none, as of the first."""
    try:
        return files.read_text(f"{context.settings.data_folder}/pg_wal/{timeline:08X}.history")
    except OSError:
        return ""


def is_our_standby(context: Context) -> bool:
    """Tell whether this is a standby that STANDBY=on has made, or is to be one."""
    try:
        text = small.read_text(f"{context.settings.data_folder}/standby.signal", follow=True)
    except OSError:
        return False
    return context.settings.standby is not None or text == OURS


def timeline(context: Context) -> int:
    """Return the cluster's own timeline; 0 without a cluster.

    After a promotion the first checkpoint may take minutes, and until then the control file tells of the new
    timeline only by the end of its recovery.
    """
    control = read_control(context)
    return max(
        int(control.get("Latest checkpoint's TimeLineID", 0)),
        int(control.get("Min recovery ending loc's timeline", 0)),
    )


def is_half_promoted(context: Context) -> bool:
    """Tell whether a standby has lost its signal file and was no primary yet.

    PostgreSQL removes the file before the new timeline is complete. Killed in between, the next start would
    be a primary in the old timeline, beside the old one.
    """
    if status.in_recovery(context.settings.data_folder):
        return False
    state = read_control(context).get("Database cluster state", "")
    return state in ("in archive recovery", "shut down in recovery")
