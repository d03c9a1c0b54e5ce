"""A promotion: no other server was promoted, the standby becomes a primary, and the archive records it."""

from __future__ import annotations

import os
import time

from entrypoint import exits, log
from entrypoint.archive import calls, fork, writer
from entrypoint.archive.opened import OpenedArchive
from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.pid1 import status
from entrypoint.postgres.segments import lsn_text
from entrypoint.postgres.timelines import Rival
from entrypoint.server import control_file, sessions
from entrypoint.server.context import Context
from entrypoint.server.data_folder import live_postmaster
from entrypoint.system import files, processes
from entrypoint.volume.facts import Following

_PATIENCE = 20
"""Seconds for one call of the archiver: a promotion is urgent."""
_ARRIVAL = 15
"""Seconds that a promotion waits for the new timeline's history to reach the archive."""
_RECEIVED = "SELECT coalesce(max(received_tli), 0) FROM pg_stat_wal_receiver"


def check(opened: OpenedArchive) -> None:
    """Check whether another server was already promoted; if so, raise Failure and leave the server as it was.

    An archive that cannot be queried is no obstacle: it may have been lost with the primary.
    """
    data = opened.data_folder
    if not status.in_recovery(data):
        return
    refused = fork.refusal(data)
    if refused is not None:
        raise Failure(refused)
    try:
        mine = followed(opened.context)
        found = writer.find(opened, mine, seconds=_PATIENCE)
    except (writer.Unknown, Failure, ValueError) as error:
        log.warning(
            f"cannot find out whether another server was already promoted: {error}",
            "make sure that no other server takes writes",
            docs="run-a-standby",
        )
        return
    if found is None:
        return
    raise Failure(
        Problem(
            describe(opened, mine, found[0]),
            "wait until this standby follows that timeline (entrypoint status), or build the standby again "
            "on an empty volume; if the other server is gone for good and this one takes its place: "
            "entrypoint promote --force",
            exits.SUPERSEDED,
            docs="resolve-two-writers",
        )
    )


def describe(opened: OpenedArchive, mine: int, newer: Rival) -> str:
    """Return what speaks against the promotion of a standby that follows the timeline `mine`."""
    where = f", which left timeline {newer.left} at {lsn_text(newer.lsn)}" if newer.left else ""
    return (
        f"another server was already promoted: {opened.url} holds its timeline {newer.timeline}{where}; this "
        f"standby follows timeline {mine}"
    )


def followed(context: Context) -> int:
    """Return the timeline that a running standby follows; the control file shows it only later."""
    data = context.settings.data_folder
    found = [control_file.timeline(context), int(sessions.query(context, _RECEIVED, seconds=5))]
    postmaster = live_postmaster(data)
    startup = processes.child_of(postmaster.pid, "startup") if postmaster is not None else None
    if startup is not None:
        # The title names the current segment, as in: postgres: startup recovering 000000020000000000000007
        title = files.read_text(f"/proc/{startup}/cmdline")
        found += [int(name[:8], 16) for name in re.findall("[0-9A-F]{24}", title)]
    return max(found)


def wait(context: Context) -> str:
    """Wait for the history of the new timeline to be archived, and return the outcome, for people."""
    name = f"{control_file.timeline(context):08X}.history"
    path = f"{context.settings.data_folder}/pg_wal/archive_status/{name}"
    deadline = time.monotonic() + _ARRIVAL
    while not os.path.exists(f"{path}.done"):
        if not os.path.exists(f"{path}.ready") and not os.path.exists(f"{path}.done"):
            return (
                "the server does not archive, so an old primary cannot learn of this promotion: keep it down"
            )
        failing = os.path.exists(f"{context.runtime_folder}/{calls.FAILING}")
        if failing or time.monotonic() > deadline:
            return (
                f"{name} is not in the archive yet (entrypoint archive status); until it is, an old primary "
                "cannot learn of this promotion: keep it down"
            )
        context.children.pause(0.1)
    return f"{name} is in the archive: an old primary sees it there, and does not take writes"


_HOW_FAR = """
SELECT pg_last_wal_replay_lsn(),
       extract(epoch FROM now() - pg_last_xact_replay_timestamp())::numeric(12, 1),
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
"""


def look(context: Context) -> Following | None:
    """Return how far a standby has come, or None if its server does not answer."""
    try:
        lsn, seconds, streams = sessions.query(context, _HOW_FAR, seconds=5).split("|")
    except (Failure, ValueError):
        return None
    return Following(
        replayed_lsn=lsn or None,
        seconds_since_transaction=float(seconds) if seconds else None,
        by="streaming" if streams == "t" else "archive",
    )


def promote(context: Context, seconds: int) -> None:
    """Promote the running standby and wait until it takes writes; raises Failure if it does not."""
    data = context.settings.data_folder
    found = live_postmaster(data)
    if found is None:
        raise Failure(
            Problem(
                f"no server runs on {data}, so there is none to promote",
                "run this in the standby's container: docker exec CONTAINER entrypoint promote",
                docs="run-a-standby",
            )
        )
    if not status.in_recovery(data):
        raise Failure(
            Problem(
                f"the server on {data} is already a primary",
                "there is nothing to do here; to promote another server, run this in its container",
                docs="run-a-standby",
            )
        )
    if found.status != "ready":
        # A promotion before it is consistent would end the server.
        raise Failure(
            Problem(
                "the standby has not replayed enough to be consistent, so it cannot be promoted yet",
                "try again when entrypoint ready prints: ready: standby",
                docs="run-a-standby",
            )
        )
    argv = ["pg_ctl", "promote", "--pgdata", data, "--timeout", str(seconds), "--silent"]
    code, words = context.children.output(argv, context.environment, errors=True)
    if code == 0:
        return
    if status.in_recovery(data) and live_postmaster(data) is not None and not words.strip():
        words = "it is still in recovery"
    raise Failure(
        Problem(
            f"the server was not promoted within {seconds} seconds: {words.strip()}",
            "the request remains: see the server's log, and check whether entrypoint status says primary",
            exits.FAILURE,
            docs="run-a-standby",
        )
    )
