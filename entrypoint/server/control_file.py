"""Facts from the control file and the signal files: timeline, segment size, whether it is a standby."""

from __future__ import annotations

import os

from entrypoint.pid1 import status
from entrypoint.postgres.cluster import parse_control
from entrypoint.server import programs
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_version
from entrypoint.system import files, small

OURS = "entrypoint\n"
"""The content of our standby.signal; PostgreSQL looks only at the file's name."""


def segment_bytes(context: Context) -> int:
    """Return the size of the cluster's WAL segments; PostgreSQL's default before there is a cluster."""
    control = read_control(context)
    return int(control.get("Bytes per WAL segment", 16 * 1024**2))


_controls: dict[tuple[str, str, int, int], dict[str, str]] = {}
"""What was read, by path, PATH, inode and time of change: a start with an archive reads it several times."""


def read_control(context: Context) -> dict[str, str]:
    """Return what pg_controldata prints; an empty dictionary without a cluster."""
    path = f"{context.settings.data_folder}/global/pg_control"
    try:
        found = os.stat(path)
    except OSError:
        return {}
    key = (path, context.environment.get("PATH", ""), found.st_ino, found.st_mtime_ns)
    if (known := _controls.get(key)) is not None:
        return known
    environment = {**context.environment, "LC_ALL": "C"}
    argv = [_program(context), "-D", context.settings.data_folder]
    code, text = context.children.output(argv, environment)
    if code:
        return {}
    return _controls.setdefault(key, parse_control(text))


def _program(context: Context) -> str:
    """Return pg_controldata of the cluster's major version, if the image has it.

    That of another major reads wrong values, and says so only in a warning.
    """
    major, here = data_version(context.settings.data_folder), context.environment.get("PG_MAJOR", "")
    folder = programs.of_major(major) if here and major != here else ""
    return f"{folder}/pg_controldata" if folder else "pg_controldata"


def system_identifier(context: Context) -> str:
    """Return the cluster's system identifier; empty without a cluster."""
    return read_control(context).get("Database system identifier", "")


def history(context: Context, timeline: int) -> str:
    """Return a timeline's history file from pg_wal; empty if there is none, as for the first timeline."""
    try:
        return files.read_text(f"{context.settings.data_folder}/pg_wal/{timeline:08X}.history")
    except OSError:
        return ""


def is_our_standby(context: Context) -> bool:
    """Return whether this is a standby that STANDBY=on has set up, or that is now set up with it."""
    try:
        text = small.read_text(f"{context.settings.data_folder}/standby.signal", follow=True)
    except OSError:
        return False
    return context.settings.standby is not None or text == OURS


def timeline(context: Context) -> int:
    """Return the cluster's own timeline; 0 without a cluster.

    After a promotion the first checkpoint may take minutes. Until then, only the end of recovery in the
    control file shows the new timeline.
    """
    control = read_control(context)
    return max(
        int(control.get("Latest checkpoint's TimeLineID", 0)),
        int(control.get("Min recovery ending loc's timeline", 0)),
    )


def awaits_checkpoint(context: Context) -> bool:
    """Return whether the checkpoint after a promotion has not ended yet, see `timeline`.

    Until it has ended, pgBackRest takes no backup.
    """
    return int(read_control(context).get("Latest checkpoint's TimeLineID", 0)) < timeline(context)


def is_half_promoted(context: Context) -> bool:
    """Return whether a standby has lost its signal file before it became a primary.

    PostgreSQL removes the file before the new timeline is complete. If the server is killed in between, the
    next start would be a second primary in the old timeline.
    """
    if status.in_recovery(context.settings.data_folder):
        return False
    state = read_control(context).get("Database cluster state", "")
    return state in ("in archive recovery", "shut down in recovery")
