"""An old primary takes its place back: it goes on in a timeline above that of the server that was promoted.

Only so does a later restore, which follows the highest timeline, find what this one writes. PostgreSQL gives
a new timeline at the end of an archive recovery, so that is what it is made to do: to replay what is in its
own pg_wal, and nothing else. The number is the first that is not taken, by the histories that lie in pg_wal.
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
    """Take a new timeline. May be killed at any point; the next start goes on. Raises Failure."""
    data = opened.data_folder
    if known.state != fork.TAKING:
        _put_histories(opened, known)
        known = known._replace(state=fork.TAKING)
        fork.write(data, known)
    if control_file.timeline(opened.context) == known.timeline:
        log.warning(
            f"ARCHIVE_FORK=confirm: this server goes on although {known.what}",
            "see to it that the other one stays down",
        )
        files.write_atomically(f"{data}/recovery.signal", "")
        _promote(opened.context, given)
    mine = control_file.timeline(opened.context)
    if os.path.exists(f"{data}/recovery.signal") or mine <= max(known.timeline, known.theirs):
        raise Failure(
            Problem(
                "the server did not get a timeline of its own",
                "see its own words above; the next start tries again",
                exits.SUPERSEDED,
            )
        )
    # A full backup is due: what is in the archive since is of another history.
    fork.write(data, Fork(fork.CONFIRMED, opened.url, mine, confirmed=known.theirs))
    log.info(f"this server goes on in timeline {mine}; remove ARCHIVE_FORK=confirm, which holds once")


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
    """Put into pg_wal a history for each number that is taken; raises Failure where nobody can tell."""
    data = opened.data_folder
    seconds = calls.QUICK
    try:
        found = writer.find(opened, known.timeline, seconds=seconds)
        highest = max(known.theirs, found[0].timeline if found else 0)
        for timeline in range(known.timeline + 1, highest + 1):
            path = f"{data}/pg_wal/{timeline:08X}.history"
            if os.path.exists(path):
                continue
            # One that is missing in the archive keeps the number from being taken all the same.
            text = writer.fetch(opened, timeline, seconds) or f"{known.timeline}\t0/0\tnot known\n"
            files.write_atomically(path, text)
    except writer.Unknown as unknown:
        raise Failure(
            Problem(
                f"{opened.url} does not tell which timelines are taken, so none can be: {unknown}",
                "make the storage reachable, then start again",
                exits.ARCHIVE_REFUSED,
            )
        ) from unknown


def gate(opened: OpenedArchive, given: list[str]) -> list[str]:
    """Return the arguments for a server that may take writes or be looked at; raises Failure for others."""
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
    refused = Problem(known.what, known.hint, exits.SUPERSEDED)
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
