"""What a data folder tells of its cluster's major version and of the server that works on it."""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.postgres.postmaster import Postmaster, parse_postmaster
from entrypoint.server.context import Context
from entrypoint.system import files
from entrypoint.volume import notes

OLD_RECOVERY = "recovery.conf"
"""Of PostgreSQL 11 and older."""


def data_major(data_folder: str) -> int:
    """Return the major of a cluster."""
    return int(files.read_text(f"{data_folder}/PG_VERSION").partition(".")[0])


def forget_original(data_folder: str) -> None:
    """Remove from a fetched cluster what tells of its original's server.

    pgBackRest leaves a recovery.signal, which beside a standby.signal would outlive the promotion.
    """
    notes.migrate(data_folder)
    gone = ("postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal")
    for name in (*gone, own.STOPS, own.UNFINISHED, own.FINISHED):
        if os.path.lexists(f"{data_folder}/{name}"):
            files.remove_tree(f"{data_folder}/{name}")
    if os.path.lexists(f"{data_folder}/{OLD_RECOVERY}"):
        aside = f"{OLD_RECOVERY}.unused"
        os.rename(f"{data_folder}/{OLD_RECOVERY}", f"{data_folder}/{aside}")
        log.warning(f"the backup holds a {OLD_RECOVERY}, with which no server starts: renamed to {aside}")


def read_postmaster(data_folder: str) -> Postmaster | None:
    """Return what postmaster.pid says, or None without a readable one."""
    try:
        return parse_postmaster(files.read_text(f"{data_folder}/postmaster.pid"))
    except OSError:
        return None


def live_postmaster(data_folder: str) -> Postmaster | None:
    """Return what postmaster.pid says, if its process is there."""
    found = read_postmaster(data_folder)
    return found if found is not None and os.path.exists(f"/proc/{found.pid}") else None


def is_postmaster_of(pid: int, data_folder: str) -> bool:
    """Tell whether a process is the server of this data folder, and not another one with its old pid."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        folder = os.readlink(f"/proc/{pid}/cwd")
        return program in ("postgres", "postmaster") and os.path.samefile(folder, data_folder)
    except OSError:
        return False  # another user's process, or gone, as its folder may be


def running_arguments(context: Context) -> list[str] | None:
    """Return the arguments of the server that runs on the data folder, or None."""
    found = live_postmaster(context.settings.data_folder)
    if found is None:
        return None
    try:
        return files.read_text(f"/proc/{found.pid}/cmdline").split("\0")[1:-1]
    except OSError:
        return None
