"""Facts from a data folder: its cluster's major version, and the server that runs on it."""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.postgres.postmaster import Postmaster, parse_postmaster
from entrypoint.server.context import Context
from entrypoint.system import files, small
from entrypoint.volume import notes

OLD_RECOVERY = "recovery.conf"
"""The recovery settings of PostgreSQL 11 and older."""


def data_version(data_folder: str) -> str:
    """Return the version in PG_VERSION as it is there; empty if there is no cluster, or no readable file."""
    try:
        return small.read_text(f"{data_folder}/PG_VERSION", follow=True).split("\n")[0].strip()
    except OSError:
        return ""


def data_major(data_folder: str) -> int:
    """Return the major version of a cluster."""
    return int(files.read_text(f"{data_folder}/PG_VERSION").partition(".")[0])


def forget_original(data_folder: str) -> None:
    """Remove the files of the original's server from a fetched cluster.

    pgBackRest leaves a recovery.signal. Next to a standby.signal it would still be there after a promotion.
    """
    notes.migrate(data_folder)
    gone = ("postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal")
    ours = (own.NOTIFY, own.REFUSED, own.STOPS, own.WATCH, own.UNFINISHED, own.FINISHED, own.UPGRADE)
    for name in (*gone, *ours):
        if os.path.lexists(f"{data_folder}/{name}"):
            files.remove_tree(f"{data_folder}/{name}")
    if os.path.lexists(f"{data_folder}/{OLD_RECOVERY}"):
        aside = f"{OLD_RECOVERY}.unused"
        os.rename(f"{data_folder}/{OLD_RECOVERY}", f"{data_folder}/{aside}")
        log.warning(
            f"the backup contains a {OLD_RECOVERY}, which prevents a server start: renamed to {aside}"
        )


def read_postmaster(data_folder: str) -> Postmaster | None:
    """Return the content of postmaster.pid; None if it is missing or cannot be read."""
    try:
        return parse_postmaster(files.read_text(f"{data_folder}/postmaster.pid"))
    except OSError:
        return None


def live_postmaster(data_folder: str) -> Postmaster | None:
    """Return the content of postmaster.pid; None unless its process exists."""
    found = read_postmaster(data_folder)
    return found if found is not None and os.path.exists(f"/proc/{found.pid}") else None


def is_postmaster_of(pid: int, data_folder: str) -> bool:
    """Return whether a process is the server of this data folder, not another process with its old pid."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        folder = os.readlink(f"/proc/{pid}/cwd")
        return program in ("postgres", "postmaster") and os.path.samefile(folder, data_folder)
    except OSError:
        return False  # another user's process, or the process or its folder is gone


def running_arguments(context: Context) -> list[str] | None:
    """Return the arguments of the server that runs on the data folder; None without one."""
    found = live_postmaster(context.settings.data_folder)
    if found is None:
        return None
    try:
        return files.read_text(f"/proc/{found.pid}/cmdline").split("\0")[1:-1]
    except OSError:
        return None
