"""An old primary takes its place back: it continues on a timeline above that of the promoted server.

Only then does a later restore, which follows the highest timeline, find what this server writes. PostgreSQL
starts a new timeline at the end of an archive recovery. So the server runs one that replays what is in its
own pg_wal, and nothing else. The new number is the first one that is free by the histories in pg_wal.
"""

from __future__ import annotations

import os

from entrypoint import exits, log
from entrypoint.archive import calls, fork, writer
from entrypoint.archive.fork import Fork
from entrypoint.archive.opened import OpenedArchive
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.postgres import ruled
from entrypoint.server import control_file, private_server
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_major
from entrypoint.system import files


def run(opened: OpenedArchive, given: list[str], known: Fork) -> None:
    """Take a new timeline; raises Failure. After a kill at any point, the next start continues."""
    data = opened.data_folder
    if known.state != fork.TAKING:
        _put_histories(opened, known)
        known = known._replace(state=fork.TAKING)
        fork.write(data, known)
    if control_file.timeline(opened.context) == known.timeline:
        log.warning(
            f"ARCHIVE_FORK=confirm: this server continues although {known.what}",
            "make sure that the other server stays down",
            docs="resolve-two-writers",
        )
        files.write_atomically(f"{data}/recovery.signal", "")
        _promote(opened.context, given)
    mine = control_file.timeline(opened.context)
    if os.path.exists(f"{data}/recovery.signal") or mine <= max(known.timeline, known.theirs):
        raise Failure(
            Problem(
                "the server did not get its own timeline",
                "see its output above; the next start tries again",
                exits.SUPERSEDED,
            )
        )
    # A full backup is due: what was archived since belongs to another history.
    fork.write(data, Fork(fork.CONFIRMED, opened.url, mine, confirmed=known.theirs))
    log.info(
        f"this server continues on timeline {mine}; remove ARCHIVE_FORK=confirm, which takes effect once"
    )


def _promote(context: Context, given: list[str]) -> None:
    from entrypoint.server import temporary

    status.enter(context.runtime_folder, status.RECOVERY)
    options = {**writer.nowhere(context), "recovery_target_action": "promote", "hot_standby": "off"}
    major = data_major(context.settings.data_folder)
    arguments = [*given, *private_server.recovering(options, context.settings.port, major)]
    with temporary.serve(context, arguments, seconds=None):
        pass
    status.enter(context.runtime_folder, status.BOOT)


def _put_histories(opened: OpenedArchive, known: Fork) -> None:
    """Put a history into pg_wal for each number that is taken; raises Failure if that is unknown."""
    data = opened.data_folder
    seconds = calls.QUICK
    try:
        found = writer.find(opened, known.timeline, seconds=seconds)
        highest = max(known.theirs, found[0].timeline if found else 0)
        for timeline in range(known.timeline + 1, highest + 1):
            path = f"{data}/pg_wal/{timeline:08X}.history"
            if os.path.exists(path):
                continue
            # If the archive lacks a history, one is made up, so that its number is not used either.
            text = writer.fetch(opened, timeline, seconds) or f"{known.timeline}\t0/0\tnot known\n"
            files.write_atomically(path, text)
    except writer.Unknown as unknown:
        raise Failure(
            Problem(
                f"cannot find out from {opened.url} which timelines are taken, so this server cannot take "
                f"one: {unknown}",
                "make the storage reachable, then start again",
                exits.ARCHIVE_REFUSED,
                docs="fix-archiving",
            )
        ) from unknown


def gate(opened: OpenedArchive, given: list[str]) -> list[str]:
    """Return the arguments for a server that may take writes or be read; raises Failure for any other."""
    data = opened.data_folder
    known = fork.read(data)
    if known is None or (status.in_recovery(data) and known.state != fork.TAKING):
        return given
    if known.state == fork.TAKING or (
        known.state == fork.SUPERSEDED and opened.archive.fork_confirmed and not known.confirmed
    ):
        run(opened, given, known)
        return given
    if known.state != fork.SUPERSEDED:
        return given
    refused = Problem(known.what, known.hint, exits.SUPERSEDED, docs="resolve-two-writers")
    if opened.archive.fork != "readonly":
        raise Failure(refused)
    log.problem(refused)
    log.warning(
        "ARCHIVE_FORK=readonly: serving read-only, as a standby that follows nobody; nothing is archived"
    )
    fork.write(data, known._replace(state=fork.READING))
    files.write_atomically(f"{data}/standby.signal", "")
    return [
        *given,
        *ruled.words({**writer.nowhere(opened.context), "hot_standby": "on", "archive_mode": "off"}),
    ]
