"""Before a promotion: nobody else was promoted already; after it: the archive tells of this one."""

from __future__ import annotations

import os
import time

from entrypoint import exits, log
from entrypoint.effects import archive as archives
from entrypoint.effects import files, fork, processes, server, sessions, status, writer
from entrypoint.effects.context import Context
from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.segments import lsn_text
from entrypoint.settings import Archive

_PATIENCE = 20
"""Seconds for one call of the archiver: who promotes is in a hurry."""
_ARRIVAL = 15
"""Seconds that the new timeline's history gets to reach the archive while somebody waits for it."""
_RECEIVED = "SELECT coalesce(max(received_tli), 0) FROM pg_stat_wal_receiver"


def check(context: Context, archive: Archive) -> None:
    """Look whether another server was promoted already; raises Failure, with the server as it was.

    An archive that cannot be asked is no obstacle: it may be what was lost.
    """
    data = context.settings.data_folder
    if not status.in_recovery(data):
        return
    refused = fork.refusal(data)
    if refused is not None:
        raise Failure(refused)
    try:
        mine = _followed(context)
        found = writer.find(context, archive, mine, seconds=_PATIENCE)
    except (writer.Unknown, Failure, ValueError) as error:
        log.warning(
            f"whether another server was promoted already cannot be told: {error}",
            "see to it that no other one takes writes",
        )
        return
    if found is None:
        return
    rival, _ = found
    where = f", which left timeline {rival.left} at {lsn_text(rival.lsn)}" if rival.left else ""
    raise Failure(
        Problem(
            f"another server was promoted already: {archive.storage.url} holds its timeline {rival.timeline}"
            f"{where}; this standby follows timeline {mine}",
            "wait until it follows that one (entrypoint status), or build it anew on an empty volume; if the "
            "other server is gone for good and this one is to take its place: entrypoint promote --force",
            exits.SUPERSEDED,
        )
    )


def _followed(context: Context) -> int:
    """Return the timeline that a running standby follows, which the control file knows only later."""
    data = context.settings.data_folder
    found = [server.timeline(context), int(sessions.query(context, _RECEIVED, seconds=5))]
    postmaster = server.live_postmaster(data)
    startup = processes.child_of(postmaster.pid, "startup") if postmaster is not None else None
    if startup is not None:
        # What it replays, or waits for: postgres: startup recovering 000000020000000000000007
        title = files.read_text(f"/proc/{startup}/cmdline")
        found += [int(name[:8], 16) for name in re.findall("[0-9A-F]{24}", title)]
    return max(found)


def wait(context: Context) -> str:
    """Wait for the history of the new timeline to be archived, and return what came of it, for people."""
    name = f"{server.timeline(context):08X}.history"
    path = f"{context.settings.data_folder}/pg_wal/archive_status/{name}"
    deadline = time.monotonic() + _ARRIVAL
    while not os.path.exists(f"{path}.done"):
        if not os.path.exists(f"{path}.ready") and not os.path.exists(f"{path}.done"):
            return (
                "the server does not archive, so nothing tells an old primary of this promotion: keep it down"
            )
        failing = os.path.exists(f"{context.runtime_folder}/{archives.FAILING}")
        if failing or time.monotonic() > deadline:
            return (
                f"{name} is not in the archive yet (entrypoint archive status): until then nothing tells an "
                "old primary of this promotion: keep it down"
            )
        context.children.pause(0.1)
    return f"{name} is in the archive: an old primary sees it there, and does not take writes"
